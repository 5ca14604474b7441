//! Images of one layer, made by a script.

use crate::{World, stdout};
use std::path::PathBuf;

const PACK: &str = r#"set -e
name=$1 env=$2 && cd "$HOME" && rm -rf "$name" && mkdir -p "$name/1" && cd "$name"
(umask 022 && cd 1 && eval "$3")
tar -C 1 --owner=7 --group=8 --sort=name -cf 1.tar .
one=$(sha256sum 1.tar | cut -d' ' -f1)
cat > config.json <<END
{"architecture":"$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')","os":"linux",
"config":{"Env":$env,"User":"7","WorkingDir":"/nowhere","Entrypoint":["/never"],"Cmd":["never"]},
"rootfs":{"type":"layers","diff_ids":["sha256:$one"]}}
END
echo '[{"Config":"config.json","RepoTags":["'$name':1"],"Layers":["1.tar"]}]' > manifest.json
tar -cf ../"$name.tar" manifest.json config.json 1.tar
"#;

/// An archive as `docker save` writes it, in the user's home, with the image `NAME:1` of what a script puts into the directory
/// where it runs. All of it is user 7's and group 8's; names that begin with `.wh.` take away. `env` is a JSON list. How it
/// wants to be run can't be.
///
/// # Panics
/// If it can't be made.
#[track_caller]
#[must_use]
pub fn pack(world: &World, name: &str, env: &str, script: &str) -> PathBuf {
    let _ = stdout(world.command("sh").args(["-c", PACK, "sh", name, env, script]));
    world.home().join(format!("{name}.tar"))
}
