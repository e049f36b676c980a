//! What a service refers to by name: secrets, configs, certificate authorities.

use std::{collections::BTreeMap, str::FromStr};

use protocol::wire::{ExternalCa, external_ca::CaProtocol};

use super::{Invalid, List};

/// A secret or a config, and the file that it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) file: String,
}

/// Reads `name[:file]`; the file has the name if it is not given.
pub(crate) fn reference(kind: &str, text: &str) -> Result<Reference, Invalid> {
    let (name, file) = text.split_once(':').unwrap_or((text, text));
    if name.is_empty() {
        return Err(Invalid::new(format!("invalid {kind} name provided")));
    }
    if file.is_empty() {
        return Err(Invalid::new("invalid presentation name provided"));
    }
    Ok(Reference { name: name.to_owned(), file: file.to_owned() })
}

/// A certificate authority outside the cluster: one CSV record of `key=value`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Authority(pub(crate) ExternalCa);

impl FromStr for Authority {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (mut protocol, mut url) = (None, None);
        let mut options = BTreeMap::new();
        for field in List::join(Some(&[text.parse()?])).unwrap_or_default() {
            let (key, value) = field.split_once('=').ok_or_else(|| {
                Invalid::new(format!("invalid field '{field}' must be a key=value pair"))
            })?;
            match key.to_lowercase().as_str() {
                "protocol" if value.eq_ignore_ascii_case("cfssl") => {
                    protocol = Some(CaProtocol::Cfssl);
                }
                "protocol" => {
                    let text = format!("unrecognized external CA protocol {value}");
                    return Err(Invalid::new(text));
                }
                "url" => url = Some(value.to_owned()),
                _ => drop(options.insert(key.to_owned(), value.to_owned())),
            }
        }
        let needs =
            |what| Invalid::new(format!("the external-ca option needs a {what}= parameter"));
        let protocol = protocol.ok_or_else(|| needs("protocol"))?.into();
        let url = url.ok_or_else(|| needs("url"))?;
        Ok(Self(ExternalCa { protocol, url, options, ..ExternalCa::default() }))
    }
}
