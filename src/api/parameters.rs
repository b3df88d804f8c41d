//! The query string: parameters in the order of the request, names in lower case, percent-decoded once.

use std::borrow::Cow;

use memchr::memchr;
use percent_encoding::percent_decode;
use smallvec::SmallVec;

use super::error::ApiError;

/// More parameters than any library sends. Bounds what a request without a valid signature can cost.
const PARAMETERS_MAX: usize = 512;

/// What a literal `+` means: libraries that encode values mean a space, those that don't mean a plus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plus {
    /// A plus.
    Literal,
    /// A space.
    Space,
}

/// One `name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter<'a> {
    /// In lower case; may end in `[…]`.
    pub(super) name: Cow<'a, [u8]>,
    /// Any bytes.
    pub(super) value: Cow<'a, [u8]>,
}

/// A query string's parameters.
#[derive(Debug)]
pub(super) struct Parameters<'a>(Vec<Parameter<'a>>);

impl<'a> Parameters<'a> {
    /// Reads a query string.
    pub(super) fn parse(query: &'a str, plus: Plus) -> Result<Self, ApiError> {
        // A publish has five.
        let mut parameters = Vec::with_capacity(8);
        let is_plain = is_plain(query, plus);
        let decode = if is_plain {
            |text, _| Cow::Borrowed(text)
        } else {
            decode
        };
        let mut rest = query.as_bytes();
        while !rest.is_empty() {
            let pair;
            (pair, rest) = split(rest, memchr(b'&', rest));
            if pair.is_empty() {
                continue;
            }
            if parameters.len() == PARAMETERS_MAX {
                return Err(ApiError::TooManyParameters(PARAMETERS_MAX));
            }
            let (name, value) = split(pair, pair.iter().position(|byte| *byte == b'='));
            let mut name = decode(name, plus);
            if !is_plain && name.iter().any(u8::is_ascii_uppercase) {
                name.to_mut().make_ascii_lowercase();
            }
            parameters.push(Parameter {
                name,
                value: decode(value, plus),
            });
        }
        Ok(Self(parameters))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Parameter<'a>> {
        self.0.iter()
    }

    /// The bytes of the parameter of exactly this name.
    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        let parameter = self
            .iter()
            .find(|parameter| *parameter.name == *name.as_bytes());
        parameter.map(|parameter| &*parameter.value)
    }

    /// The text of `name`; of `name[…]` the values, joined by commas.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<Cow<'_, str>>, ApiError> {
        let mut texts = self.texts(name);
        let Some(first) = texts.next().transpose()? else {
            return Ok(None);
        };
        let mut text = Cow::Borrowed(first);
        for next in texts {
            let text = text.to_mut();
            text.push(',');
            text.push_str(next?);
        }
        Ok(Some(text))
    }

    /// The texts of `name` and `name[…]`, in order.
    pub(super) fn texts(&self, name: &'static str) -> impl Iterator<Item = Result<&str, ApiError>> {
        let named = self
            .iter()
            .filter(move |parameter| parameter.base() == name.as_bytes());
        named.map(move |parameter| {
            std::str::from_utf8(&parameter.value).map_err(|_| ApiError::ParameterNotUtf8(name))
        })
    }

    /// The parameters as PHP signs them, `info=a,b` for `info[0]=a&info[1]=b`; `None` if there is no such array.
    pub(super) fn collapsed(&self) -> Option<Self> {
        self.iter().find(|parameter| parameter.is_element())?;
        let mut collapsed: Vec<Parameter<'a>> = Vec::with_capacity(self.0.len());
        // Where each array is among the collapsed.
        let mut arrays: SmallVec<[usize; 4]> = SmallVec::new();
        for parameter in self.iter() {
            let base = parameter.base();
            let array = arrays
                .iter()
                .find(|at| *collapsed[**at].name == *base)
                .copied();
            match array.filter(|_| parameter.is_element()) {
                Some(at) => {
                    let value = collapsed[at].value.to_mut();
                    value.push(b',');
                    value.extend_from_slice(&parameter.value);
                }
                None => {
                    if parameter.is_element() {
                        arrays.push(collapsed.len());
                    }
                    let name = Cow::Owned(base.to_vec());
                    collapsed.push(Parameter {
                        name,
                        value: parameter.value.clone(),
                    });
                }
            }
        }
        Some(Self(collapsed))
    }
}

impl Parameter<'_> {
    /// Whether it is an element of an array, `name[…]`.
    fn is_element(&self) -> bool {
        self.name.ends_with(b"]") && self.name.contains(&b'[')
    }

    /// The name without `[…]`.
    fn base(&self) -> &[u8] {
        if !self.is_element() {
            return &self.name;
        }
        self.name
            .split(|byte| *byte == b'[')
            .next()
            .unwrap_or_default()
    }
}

/// What is before the byte `at` and what is behind it; without it, all is before.
fn split(text: &[u8], at: Option<usize>) -> (&[u8], &[u8]) {
    at.map_or((text, &[]), |at| (&text[..at], &text[at + 1..]))
}

/// Whether the text says what it is without any decoding and has no upper case, as the query of nearly every publish. Looks at every byte
/// whatever it finds, which takes the processor a sixteenth of the steps.
fn is_plain(text: &str, plus: Plus) -> bool {
    let has_spaces = plus == Plus::Space;
    let means_more =
        |byte: &u8| (*byte == b'%') | (*byte == b'+') & has_spaces | byte.is_ascii_uppercase();
    let bytes = text.as_bytes().iter();
    !bytes.fold(false, |any, byte| any | means_more(byte))
}

fn decode(text: &[u8], plus: Plus) -> Cow<'_, [u8]> {
    if plus == Plus::Space && text.contains(&b'+') {
        let spaced: Vec<u8> = text
            .iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect();
        return Cow::Owned(percent_decode(&spaced).collect());
    }
    percent_decode(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Parameters<'_> {
        Parameters::parse(query, Plus::Literal).expect("few parameters")
    }

    fn shown(parameters: &Parameters<'_>) -> String {
        let pairs = parameters.iter().map(|parameter| {
            let text = String::from_utf8_lossy;
            format!("{}={}", text(&parameter.name), text(&parameter.value))
        });
        pairs.collect::<Vec<_>>().join("&")
    }

    #[test]
    fn a_query_is_read_in_order() {
        for (query, expected) in [
            ("", ""),
            ("b=2&a=1", "b=2&a=1"),
            ("&&a=1&", "a=1"),
            ("a&b=&=c", "a=&b=&=c"),
            ("a=b=c", "a=b=c"),
            ("Info=User_Count", "info=User_Count"),
            ("%49nfo=a%2Cb", "info=a,b"),
            ("a=%252C", "a=%2C"),
            ("a=%zz%4", "a=%zz%4"),
            ("a=1+2%2B3", "a=1+2+3"),
        ] {
            assert_eq!(shown(&parse(query)), expected, "{query}");
        }
        let spaced = Parameters::parse("a+b=1+2%2B3", Plus::Space).expect("one parameter");
        assert_eq!(shown(&spaced), "a b=1 2+3");
    }

    #[test]
    fn arrays_collapse_in_the_order_of_the_request() {
        for (query, expected) in [
            ("info[0]=a&info[1]=b", Some("info=a,b")),
            ("info%5B1%5D=b&x=1&info%5B0%5D=a", Some("info=b,a&x=1")),
            ("a[]=1&b[]=2&a[]=3", Some("a=1,3&b=2")),
            ("a=0&a[]=1&a[]=2", Some("a=0&a=1,2")),
            ("a[x][y]=1", Some("a=1")),
            ("a=1&b=[2]", None),
            ("a[=1&b]=2", None),
        ] {
            let collapsed = parse(query).collapsed();
            assert_eq!(
                collapsed.as_ref().map(shown).as_deref(),
                expected,
                "{query}"
            );
        }
    }

    #[test]
    fn a_value_is_looked_up_as_bytes_or_as_text() {
        let parameters = parse("info[0]=a&info[1]=b&name=x&name[]=y&bad=%ff&infos=z");
        assert_eq!(parameters.bytes("name"), Some(&b"x"[..]));
        assert_eq!(parameters.bytes("bad"), Some(&b"\xff"[..]));
        assert_eq!(parameters.bytes("info"), None);
        let text = |name| parameters.text(name).expect("UTF-8");
        assert_eq!(text("info").as_deref(), Some("a,b"));
        assert_eq!(text("name").as_deref(), Some("x,y"));
        assert_eq!(text("absent"), None);
        assert!(matches!(
            parameters.text("bad"),
            Err(ApiError::ParameterNotUtf8("bad"))
        ));
    }

    #[test]
    fn too_many_parameters_are_refused() {
        let query = "a=1&".repeat(PARAMETERS_MAX);
        assert!(Parameters::parse(&query, Plus::Literal).is_ok());
        let more = query + "a=1";
        let refused = Parameters::parse(&more, Plus::Literal);
        assert!(matches!(
            refused,
            Err(ApiError::TooManyParameters(PARAMETERS_MAX))
        ));
    }
}
