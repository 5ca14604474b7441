//! Every key of what logs in, and of how that is renewed.

use super::{
    super::adapter::{Adapter, Credential, Plain, Renewal},
    below_home, none,
};
use crate::config::{self, Form, FormError, Key};
use egress::{Target, control::Encoding};

pub(super) const CREDENTIAL: &[Key<Credential>] = &[
    Key {
        name: "variable",
        form: Form::Text(|credential, text| {
            credential.variable = config::parse_variable(&text.value)?;
            Ok(())
        }),
        default: "it is in a file",
        doc: "The variable of the user's environment that holds it, or the secret of this name that he has recorded.",
        example: "\"AGENT_API_KEY\"",
    },
    Key {
        name: "env",
        form: Form::Text(|credential, text| {
            credential.env = config::parse_variable(&text.value)?;
            Ok(())
        }),
        default: "that of `variable`, or none with `file`",
        doc: "The variable inside that holds the placeholder. With `file`, nothing of that file is inside then.",
        example: "\"AGENT_KEY\"",
    },
    Key {
        name: "address",
        form: Form::Text(|credential, text| {
            credential.address = config::parse_variable(&text.value)?;
            Ok(())
        }),
        default: "none",
        doc: "The variable of the user's environment that says where its service is. Where that is none of `hosts`, it is not lent.",
        example: "\"AGENT_BASE_URL\"",
    },
    Key {
        name: "address_arguments",
        form: Form::Texts(|credential, texts| {
            credential.address_arguments = texts;
            Ok(())
        }),
        default: "it looks at that variable",
        doc: "Arguments that tell the agent that address, which is `{}` in them: how its user gives it another, where it does not look at the \
              variable.",
        example: "[\"--base-url={}\"]",
    },
    Key {
        name: "file",
        form: Form::Text(|credential, text| {
            credential.file = below_home(&text.value)?;
            Ok(())
        }),
        default: "it is in a variable",
        doc: "The file that holds it, below the home directory: JSON, or lines of `NAME=VALUE` as in `.env`.",
        example: "\".agent/auth.json\"",
    },
    Key {
        name: "field",
        form: Form::Texts(|credential, texts| {
            credential.field = texts;
            Ok(())
        }),
        default: "required with `file`",
        doc: "Where in the file it is: keys, the outermost first, or the name of the variable.",
        example: "[\"tokens\", \"access\"]",
    },
    Key {
        name: "jwt",
        form: Form::Flag(|credential, value| credential.jwt = value),
        default: "`false`",
        doc: "Whether it is a token of three parts (RFC 7519) in which the agent reads what it is for: its placeholder says the same, without the signature.",
        example: "true",
    },
    Key {
        name: "hosts",
        form: Form::Filled(|credential, text| {
            credential.hosts.push(config::parse_secret_host(&text.value)?);
            Ok(())
        }),
        default: "required",
        doc: "Where it may go: names, or `*.example.org`, without ports.",
        example: "[\"api.example.org\"]",
    },
];

pub(super) fn add_credential(adapter: &mut Adapter, credential: Credential) -> Result<(), FormError> {
    let Credential { variable, env, address, address_arguments, file, field, hosts, jwt } = &credential;
    let wrong = |cause: &str| Err(FormError::new(cause.to_owned()));
    if variable.is_empty() == file.as_os_str().is_empty() {
        return wrong("it has either `variable` or `file`");
    }
    if variable.is_empty() && !address.is_empty() {
        return wrong("`address` stands with `variable`, and not without");
    }
    if address.is_empty() && !address_arguments.is_empty() {
        return wrong("`address_arguments` stands with `address`, and not without");
    }
    if *jwt && !env.is_empty() {
        return wrong("`jwt` is of what is in a file inside, and `env` of what is not");
    }
    if variable.is_empty() == field.is_empty() {
        return wrong("`field` stands with `file`, and not without");
    }
    if hosts.is_empty() {
        return wrong("`hosts` is missing");
    }
    adapter.credentials.push(credential);
    Ok(())
}

pub(super) const PLAIN: &[Key<Plain>] = &[
    Key {
        name: "file",
        form: Form::Text(|plain, text| {
            plain.file = below_home(&text.value)?;
            Ok(())
        }),
        default: "required",
        doc: "The file of JSON, below the home directory.",
        example: "\".agent/auth.json\"",
    },
    Key {
        name: "field",
        form: Form::Texts(|plain, texts| {
            plain.field = texts;
            Ok(())
        }),
        default: "required",
        doc: "Where in the file it is: keys, the outermost first.",
        example: "[\"tokens\", \"account\"]",
    },
];

pub(super) fn add_plain(adapter: &mut Adapter, plain: Plain) -> Result<(), FormError> {
    if plain.file.as_os_str().is_empty() || plain.field.is_empty() {
        return Err(FormError::new("it needs both `file` and `field`".to_owned()));
    }
    adapter.plain.push(plain);
    Ok(())
}

/// A key of [`RENEWAL`]: where in the file something is.
macro_rules! field {
    ($name:literal, $($field:ident).+, $default:literal, $doc:literal, $example:literal) => {
        Key {
            name: $name,
            form: Form::Texts(|renewal, texts| {
                renewal.$($field).+ = texts;
                Ok(())
            }),
            default: $default,
            doc: $doc,
            example: $example,
        }
    };
}

pub(super) const RENEWAL: &[Key<Renewal>] = &[
    Key {
        name: "file",
        form: Form::Text(|renewal, text| {
            renewal.file = below_home(&text.value)?;
            Ok(())
        }),
        default: "required",
        doc: "The file of JSON that holds the login, below the home directory.",
        example: "\".agent/auth.json\"",
    },
    field!(
        "access",
        fields.access,
        "required",
        "Where in the file its access token is: keys, the outermost first. It is one of the credentials.",
        "[\"tokens\", \"access\"]"
    ),
    field!(
        "refresh",
        fields.refresh,
        "required",
        "Where its refresh token is. Without one in the file, the login is not renewed.",
        "[\"tokens\", \"refresh\"]"
    ),
    field!(
        "id",
        fields.id,
        "none",
        "Where the token is that says who has logged in. It goes nowhere.",
        "[\"tokens\", \"id\"]"
    ),
    field!(
        "expires",
        fields.expires,
        "the access token says it itself (RFC 7519), or nobody does",
        "Where it stands when the access token expires: milliseconds since 1970.",
        "[\"tokens\", \"expires\"]"
    ),
    field!(
        "renewed",
        fields.renewed,
        "nowhere",
        "Where it stands when it was renewed last: a time as RFC 3339 has it.",
        "[\"last_refresh\"]"
    ),
    field!(
        "scope",
        scope,
        "nowhere",
        "Where it stands what the tokens are for: a text, or a list of texts.",
        "[\"tokens\", \"scopes\"]"
    ),
    Key {
        name: "url",
        form: Form::Text(|renewal, text| {
            renewal.endpoint = Some(endpoint(&text.value)?);
            Ok(())
        }),
        default: "required",
        doc: "Who renews it: an address of HTTPS.",
        example: "\"https://login.example.org/oauth/token\"",
    },
    Key {
        name: "encoding",
        form: Form::Choice(ENCODINGS, |renewal, text| {
            renewal.encoding = if text.value == ENCODINGS[1] { Encoding::Json } else { Encoding::Form };
            Ok(())
        }),
        default: "`form`, as the standard has it",
        doc: "How the body of a request is written.",
        example: "\"json\"",
    },
    Key {
        name: "parameters",
        form: Form::Variables(|renewal, name, value| renewal.parameters.push((name, value))),
        default: "none",
        doc: "What a request says besides the refresh token. `{scope}` stands for what the file says at `scope`.",
        example: "{ client_id = \"agent\" }",
    },
];

const ENCODINGS: &[&str] = &["form", "json"];

/// The server and the path of an address of HTTPS.
fn endpoint(text: &str) -> Result<(Target, String), FormError> {
    let parts = text.strip_prefix("https://").and_then(|rest| Some(rest.split_at(rest.find('/')?)));
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
    match parts {
        Some((host, path)) if path.bytes().all(plain) => Ok((config::parse_target(host)?, path.to_owned())),
        _ => none(text, "address like https://login.example.org/oauth/token"),
    }
}

pub(super) fn add_renewal(adapter: &mut Adapter, renewal: Renewal) -> Result<(), FormError> {
    let wrong = |cause: &str| Err(FormError::new(cause.to_owned()));
    let missing = [
        ("file", renewal.file.as_os_str().is_empty()),
        ("access", renewal.fields.access.is_empty()),
        ("refresh", renewal.fields.refresh.is_empty()),
        ("url", renewal.endpoint.is_none()),
    ];
    if let Some((key, _)) = missing.iter().find(|(_, missing)| *missing) {
        return wrong(&format!("`{key}` is missing"));
    }
    adapter.renewals.push(renewal);
    Ok(())
}
