//! How a string with a shape becomes a type of its own.
//!
//! [`text!`] makes a newtype that can only hold text of one shape. The shape is written down twice, once as Rust (for
//! `FromStr` and `Deserialize`) and once as a CEL rule with a message (for the API server), and the tests of this crate
//! hold the two against each other. CEL is preferred to an OpenAPI `pattern` because its message can tell the way out.
//!
//! Knows nothing of any kind; who has a shape to describe does so in its own module.

use std::fmt;

/// Text that hasn't the shape of the type it should become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidText {
    what: &'static str,
    text: String,
    way_out: &'static str,
}

impl InvalidText {
    /// Says that `text` is no `what`, and what would be one.
    pub(crate) fn new(what: &'static str, text: &str, way_out: &'static str) -> Self {
        const SHOWN: usize = 80;
        let text = match text.char_indices().nth(SHOWN) {
            None => text.to_owned(),
            Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        };
        Self { what, text, way_out }
    }
}

impl fmt::Display for InvalidText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no {}: {}", self.text, self.what, self.way_out)
    }
}

impl std::error::Error for InvalidText {}

/// Defines a newtype over `String` with one shape: `text! { /// doc  Name: "what", max 63, rule "CEL", else "way out", if check }`.
///
/// `check` sees text that is neither empty nor longer than `max` characters.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident: $what:literal, max $max:literal, rule $rule:expr, else $way_out:literal, if $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The most characters it may have.
            pub const MAX_LENGTH: usize = $max;

            /// Parses `text`.
            ///
            /// # Errors
            /// The text hasn't the shape; the error says what would have it.
            pub fn new(text: impl Into<String>) -> Result<Self, $crate::InvalidText> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if !text.is_empty() && text.chars().count() <= Self::MAX_LENGTH && check(&text) {
                    Ok(Self(text))
                } else {
                    Err($crate::InvalidText::new($what, &text, $way_out))
                }
            }

            /// Takes a literal of this crate's own, such as a default, without checking it again. The golden test checks
            /// that the defaults are valid, and so does the API server.
            #[allow(dead_code, reason = "not every kind of text has a default")]
            pub(crate) fn known(text: &'static str) -> Self {
                Self(text.to_owned())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::InvalidText;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::InvalidText;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "minLength": 1,
                    "maxLength": Self::MAX_LENGTH,
                    "x-kubernetes-validations": [{ "rule": $rule, "message": $way_out }],
                })
            }
        }
    };
}

pub(crate) use text;
