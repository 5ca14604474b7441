use super::*;
use crate::config::{FILE_NAME, ProjectFile, parse, reference, schema};
use std::path::PathBuf;

#[test]
fn every_example_can_be_written() {
    for Table { name: table, keys, .. } in PROJECT {
        let Keys::Fixed(keys) = keys else { continue };
        for key in *keys {
            let text = format!("[{table}]\n{} = {}\n", key.name, key.example);
            let parsed = ProjectFile::parse(FILE_NAME.into(), text.clone()).unwrap_or_else(|error| panic!("{error}"));
            assert_ne!(parsed.settings, Settings::default(), "{text} has no effect");
            if let Form::Choice(choices, _) = key.form {
                for choice in choices {
                    let text = format!("[{table}]\n{} = \"{choice}\"\n", key.name);
                    ProjectFile::parse(FILE_NAME.into(), text).unwrap();
                }
            }
        }
    }
    for key in RULE {
        let host = if key.name == "host" { "" } else { "host = \"a.b\", " };
        let text = format!("[network]\nallow = [{{ {host}{} = {} }}]", key.name, key.example);
        ProjectFile::parse(FILE_NAME.into(), text).unwrap_or_else(|error| panic!("{error}"));
    }
    for key in SECRET {
        let text = format!("[secrets]\nA = {{ {} = {} }}", key.name, key.example);
        ProjectFile::parse(FILE_NAME.into(), text).unwrap_or_else(|error| panic!("{error}"));
    }
    for Table { name: table, keys, .. } in USER {
        let Keys::Fixed(keys) = keys else { continue };
        for key in *keys {
            let settings = parse::settings(&format!("[{table}]\n{} = {}", key.name, key.example), USER);
            assert_ne!(settings.ok().unwrap(), Settings::default());
        }
    }
    for key in REGISTRY {
        let settings = parse::settings(&format!("[registries.'a.b']\n{} = {}", key.name, key.example), USER);
        assert_ne!(settings.ok().unwrap().registries[0], RegistrySettings { name: "a.b".into(), ..Default::default() });
    }
}

#[test]
fn the_schema_has_every_key_and_no_other() {
    let schema = schema();
    for Table { name: table, keys, .. } in PROJECT {
        let table = &schema["properties"][table];
        let Keys::Fixed(keys) = keys else {
            let either = table["additionalProperties"]["anyOf"].as_array().unwrap();
            assert_eq!(either[1]["properties"].as_object().unwrap().len(), SECRET.len());
            continue;
        };
        assert_eq!(table["additionalProperties"], false);
        let written: Vec<&String> = table["properties"].as_object().unwrap().keys().collect();
        assert_eq!(written.len(), keys.len());
        for key in *keys {
            assert!(table["properties"][key.name]["description"].as_str().is_some_and(|doc| !doc.is_empty()));
        }
    }
}

/// What is made of the tables for readers and editors, in the repository.
#[test]
fn what_is_generated_is_up_to_date() {
    let schema = format!("{:#}\n", schema());
    for (path, text) in [("docs/reference/config.md", reference()), ("editors/vscode/schema.json", schema)] {
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../..", path].iter().collect();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written == text, "UPDATE_DOCS=1 rewrites {}", path.display());
    }
}
