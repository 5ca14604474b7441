//! `image build --builder docker`: the build is handed to the user's engine, and the store gets what comes of it.

use super::{
    Failure,
    build::{Build, Steps},
    engine_image,
};
use crate::{
    config::{HostFacts, NetworkOverrides, UserConfig},
    engine::{self, Endpoint, Engine, EngineError, Order},
    image::{Images, Record},
};
use dockerfile::Ignore;
use egress::Mode;
use oci::Platform;
use std::{collections::BTreeMap, io::Write as _};

impl Build {
    /// Has the engine build, and takes the image in.
    pub(super) fn in_engine(
        &self,
        images: &Images,
        host: &HostFacts,
        text: &str,
        ignore: &Ignore,
        arguments: &BTreeMap<String, String>,
    ) -> Result<Record, Failure> {
        let offline = self.check_for_engine(host)?;
        let failed = |error: EngineError| Failure::chain(&error).hint(error.hint());
        let endpoint = Endpoint::find(&host.env).map_err(|error| Failure::chain(&error).hint(error.hint()))?;
        let connect = || Engine::connect(&endpoint);
        // Before all of the context is copied.
        engine::block_on(async { connect().await.map(drop) })?.map_err(failed)?;
        let mut tail = Vec::new();
        let built = images.context(&self.context, ignore, text, |archive, dockerfile| {
            let order = Order {
                dockerfile,
                target: self.target.as_deref(),
                arguments,
                platform: self.platform.as_ref().map(Platform::to_string),
                fresh: self.no_cache,
                offline,
                memory: self.memory,
                cpu_milli: self.cpus,
            };
            let tell = |said: &str| Steps::show(self.quiet, &mut tail, said.as_bytes());
            engine::block_on(async { engine::build(&connect().await?, &order, archive, tell).await })
        })?;
        let id = built?.map_err(|error| {
            let _ = std::io::stderr().write_all(&tail);
            failed(error)
        })?;
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        engine_image::take(&endpoint, images, &id, &platform)
    }

    /// Refuses what an engine's builder can't be held to, and tells whether commands are to have no network at all.
    fn check_for_engine(&self, host: &HostFacts) -> Result<bool, Failure> {
        let network = self.network.clone().overrides();
        let offline = network.mode == Some(Mode::None);
        let NetworkOverrides { allow, deny, services, ports, secrets, ssh, sign, .. } = &network;
        let hosts = [allow.len(), deny.len(), services.len(), ports.len(), secrets.len(), ssh.len()];
        let rules = hosts.iter().any(|count| *count > 0) || *sign;
        let amounts = [network.bandwidth, network.connections, network.max_tokens].iter().any(Option::is_some);
        if rules || amounts || !(offline || network.mode.is_none()) {
            let cause = "An engine's builder can't be held to what flags say of the network: its commands have the engine's own, or none";
            return Err(Failure::new(cause).hint("Leave them out, or say --net none; without --builder they hold"));
        }
        let limit = |flag: &str| {
            let cause = format!("An engine's builder can't be held to {flag}");
            Err(Failure::new(cause).hint("Leave it out; -m and --cpus hold there, and without --builder all do"))
        };
        if self.pids.is_some() {
            return limit("--pids");
        }
        if self.timeout.is_some() {
            return limit("--timeout");
        }
        UserConfig::read(host)?.check_engine_build(offline)?;
        Ok(offline)
    }
}
