//! What registries send about images, and Docker's file of logins: no panic, nothing beyond the limits, and whatever is
//! written is read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::{
    Platform,
    credentials::{DockerConfig, Found, helper_answer},
    manifest::{Document, ImageConfig, MAX_LAYERS, MAX_MANIFESTS, media},
};

fuzz_target!(|input: &[u8]| {
    for told in [None, Some(media::OCI_INDEX), Some(media::DOCKER_MANIFEST)] {
        match Document::parse(input, told) {
            Ok(Document::Index(index)) => {
                assert!(index.manifests.len() <= MAX_MANIFESTS);
                if let Some(selected) = index.select(&Platform::host()) {
                    assert!(index.manifests.contains(selected));
                }
                let bytes = index.to_bytes().unwrap();
                assert_eq!(Document::parse(&bytes, None).unwrap(), Document::Index(index));
            }
            Ok(Document::Manifest(manifest)) => {
                assert!(manifest.layers.len() <= MAX_LAYERS);
                if let Ok(kinds) = manifest.layer_kinds() {
                    assert_eq!(kinds.len(), manifest.layers.len());
                }
                let bytes = manifest.to_bytes().unwrap();
                assert_eq!(Document::parse(&bytes, None).unwrap(), Document::Manifest(manifest));
            }
            Err(error) => assert!(!error.to_string().contains(char::is_control)),
        }
    }
    match ImageConfig::parse(input) {
        Ok(config) => {
            let run = &config.config;
            let obeyed = run.env.iter().chain(&run.entrypoint).chain(&run.cmd).chain(&run.volumes);
            assert!(obeyed.chain([&run.user, &run.working_dir]).all(|text| !text.contains('\0')));
            assert!(run.working_dir.is_empty() || run.working_dir.starts_with('/'));
            let bytes = config.to_bytes().unwrap();
            assert_eq!(ImageConfig::parse(&bytes).unwrap(), config);
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
    if let Ok(config) = DockerConfig::parse(input) {
        for image in ["debian", "registry.example.com/a/b"] {
            if let Found::Helper { name, .. } = config.find(&image.parse().unwrap()) {
                assert!(!name.is_empty() && !name.contains('/'));
            }
        }
    }
    for success in [true, false] {
        let _ = helper_answer(success, input);
    }
});
