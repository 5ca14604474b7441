//! Every key of what settings an agent finds, and where.

use super::{
    super::adapter::{Adapter, Beneath, Elsewhere, Preset, Unset, Wish},
    below_home, filled, none,
};
use crate::config::{self, Form, FormError, Key};
use std::path::Path;

pub(super) const BENEATH: &[Key<Beneath>] = &[
    Key {
        name: "file",
        form: Form::Text(|beneath, text| {
            beneath.file = below_home(&text.value)?;
            Ok(())
        }),
        default: "required",
        doc: "The file, below the home directory.",
        example: "\".agent/settings.toml\"",
    },
    Key {
        name: "place",
        form: Form::Text(|beneath, text| {
            let below = text.value.strip_prefix('/').and_then(|path| config::beneath(Path::new(path)).ok());
            let Some(below) = below else { return none(&text.value, "absolute path of a file") };
            beneath.place = Path::new("/").join(below);
            Ok(())
        }),
        default: "required",
        doc: "The path inside that it has instead.",
        example: "\"/etc/agent/settings.toml\"",
    },
];

pub(super) fn add_beneath(adapter: &mut Adapter, beneath: Beneath) -> Result<(), FormError> {
    if beneath.file.as_os_str().is_empty() || beneath.place.as_os_str().is_empty() {
        return Err(FormError::new("it has both `file` and `place`".to_owned()));
    }
    adapter.beneath.push(beneath);
    Ok(())
}

pub(super) const PRESET: &[Key<Preset>] = &[
    Key {
        name: "file",
        form: Form::Text(|preset, text| {
            preset.file = below_home(&text.value)?;
            Ok(())
        }),
        default: "required",
        doc: "The file, below the home directory. It may have comments and trailing commas.",
        example: "\".agent/settings.json\"",
    },
    Key {
        name: "key",
        form: Form::Texts(|preset, texts| {
            preset.key = texts;
            Ok(())
        }),
        default: "required",
        doc: "Where in the file it is: keys, the outermost first.",
        example: "[\"privacy\", \"statistics\"]",
    },
    Key {
        name: "value",
        form: Form::Text(|preset, text| match serde_json::from_str(&text.value) {
            Ok(value) => {
                preset.value = Some(value);
                Ok(())
            }
            Err(_) => none(&text.value, "JSON"),
        }),
        default: "required",
        doc: "What it is set to, in JSON.",
        example: "'false'",
    },
    Key {
        name: "unless",
        form: Form::Choice(WISHES, |preset, text| {
            preset.unless = wish(&text.value);
            Ok(())
        }),
        default: "it is set in any case",
        doc: "It is not set with `--telemetry`, `--self-update`, or `--ask` and in editors.",
        example: "\"telemetry\"",
    },
    Key {
        name: "login",
        form: Form::Text(|preset, text| {
            preset.login = filled(text.value)?;
            Ok(())
        }),
        default: "it is set with any, where the user has not set it",
        doc: "It is set if this logs in, and then whatever the user has set: one of `[[credentials]]`, by its variable, or by its file as `~/FILE`. Those for one login stand before one for any.",
        example: "\"AGENT_API_KEY\"",
    },
];

const WISHES: &[&str] = &["telemetry", "updates", "questions"];

/// What is called so.
fn wish(name: &str) -> Option<Wish> {
    let all = [Wish::Telemetry, Wish::Updates, Wish::Questions];
    WISHES.iter().zip(all).find(|(known, _)| **known == name).map(|(_, wish)| wish)
}

pub(super) const UNSET: &[Key<Unset>] = &[
    Key {
        name: "file",
        form: Form::Text(|unset, text| {
            unset.file = below_home(&text.value)?;
            Ok(())
        }),
        default: "required",
        doc: "The file of JSON or TOML, below the home directory: one of `config` in `[home]`.",
        example: "\".agent/settings.json\"",
    },
    Key {
        name: "key",
        form: Form::Texts(|unset, texts| {
            unset.key = texts;
            Ok(())
        }),
        default: "required",
        doc: "Where in the file it is: keys, the outermost first.",
        example: "[\"tools\", \"sandbox\"]",
    },
    Key {
        name: "unless",
        form: Form::Choice(WISHES, |unset, text| {
            unset.unless = wish(&text.value);
            Ok(())
        }),
        default: "it stays outside in any case",
        doc: "It comes along with `--telemetry`, `--self-update`, or `--ask` and in editors.",
        example: "\"questions\"",
    },
];

pub(super) fn add_unset(adapter: &mut Adapter, unset: Unset) -> Result<(), FormError> {
    if unset.file.as_os_str().is_empty() || unset.key.is_empty() {
        return Err(FormError::new("it has both `file` and `key`".to_owned()));
    }
    adapter.unset.push(unset);
    Ok(())
}

pub(super) const ELSEWHERE: &[Key<Elsewhere>] = &[
    Key {
        name: "variable",
        form: Form::Text(|elsewhere, text| {
            elsewhere.variable = config::parse_variable(&text.value)?;
            Ok(())
        }),
        default: "required",
        doc: "The variable. It has the absolute path of a directory that is not in the project.",
        example: "\"AGENT_HOME\"",
    },
    Key {
        name: "below",
        form: Form::Text(|elsewhere, text| {
            elsewhere.below = below_home(&text.value)?;
            Ok(())
        }),
        default: "required",
        doc: "What is there instead, with all that is in it: a path below the home directory.",
        example: "\".agent\"",
    },
    Key {
        name: "place",
        form: Form::Text(|elsewhere, text| match config::beneath(Path::new(&text.value)) {
            Ok(place) => {
                elsewhere.place = place;
                Ok(())
            }
            Err(_) => none(&text.value, "path below a directory"),
        }),
        default: "it is that directory",
        doc: "Where it is below that directory.",
        example: "\"agent\"",
    },
];

pub(super) fn add_elsewhere(adapter: &mut Adapter, elsewhere: Elsewhere) -> Result<(), FormError> {
    if elsewhere.variable.is_empty() || elsewhere.below.as_os_str().is_empty() {
        return Err(FormError::new("it has both `variable` and `below`".to_owned()));
    }
    adapter.elsewhere.push(elsewhere);
    Ok(())
}

pub(super) fn add_preset(adapter: &mut Adapter, preset: Preset) -> Result<(), FormError> {
    let Preset { file, key, value, .. } = &preset;
    if file.as_os_str().is_empty() || key.is_empty() || value.is_none() {
        return Err(FormError::new("it has all of `file`, `key` and `value`".to_owned()));
    }
    adapter.presets.push(preset);
    Ok(())
}
