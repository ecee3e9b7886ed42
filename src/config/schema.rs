//! The layer between the keys and everything that is done with them.
//!
//! Each section of the configuration is declared once, by [`section!`], as a table of
//! `name: Type = default => kind`, with a doc comment for each key. From that one table come the Rust structure with its
//! documentation, reading it from YAML, setting it from the environment, hints for mistyped keys, what
//! `--print-config` shows, and the reference file. All of these are [`Visitor`]s or methods of a [`Kind`].

use std::collections::HashMap;
use std::sync::Arc;

use super::error::{ConfigError, Origin, Problem};
use super::hints;
use super::node::{Data, Node, Pair};
use super::secret::Secret;

/// What the declaration of a key says about it.
pub(super) struct Field {
    pub(super) name: &'static str,
    /// A second name under which the key is accepted.
    pub(super) alias: Option<&'static str>,
    /// The doc comment, a line each, with the space that follows the slashes.
    pub(super) doc: &'static str,
}

/// A group of keys.
pub(super) trait Section: Clone + Default {
    /// Shows each key to the visitor, in the order of the declaration.
    fn visit<V: Visitor>(&mut self, visitor: &mut V);
}

/// Something that is done to each key of a section.
pub(super) trait Visitor {
    fn field<K: Kind>(&mut self, field: &Field, value: &mut K::Value, kind: &K);
}

/// What a key holds, and how it is written.
pub(super) trait Kind {
    type Value;

    /// Sets the value from what stands in the file, or reports why it cannot.
    fn read(&self, value: &mut Self::Value, node: &Node, path: &str, cx: &mut Context);

    /// Sets the value, or what it holds, from an environment variable if it is the one meant; says whether it was.
    /// `name` is the variable of this key, `path` its path.
    fn overlay(
        &self,
        value: &mut Self::Value,
        name: &str,
        path: &str,
        variable: &Variable,
        cx: &mut Context,
    ) -> bool;

    /// Describes the key and all that it holds, in the order in which a file shows them.
    fn describe(&self, value: &Self::Value, place: Place, out: &mut Vec<Entry>);
}

/// A kind whose values are a scalar, or a list of them, and are set as a whole.
pub(super) trait Leaf {
    type Value;

    /// What is accepted, as the end of a sentence.
    fn accepted(&self) -> String;

    /// Reads a value, or reports why it cannot be read.
    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Self::Value>;

    /// The value as YAML, on one line, without what is secret in it.
    fn text(&self, value: &Self::Value) -> String;

    /// All of the value, secrets included: only ever compared.
    fn whole(&self, value: &Self::Value) -> Secret {
        Secret::new(self.text(value))
    }

    /// What the reference shows for a value that has no default.
    fn example(&self) -> Option<&'static str> {
        None
    }

    /// The words that are accepted, where it is one of a few, and what each does.
    fn words(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// The text of an environment variable as a node.
    fn environment_node(&self, text: &str, at: &Origin) -> Node {
        Node::scalar(at, text)
    }
}

/// An environment variable that is to be put over the file.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) at: Origin,
}

/// What reading gathers.
#[derive(Default)]
pub(super) struct Context {
    pub(super) errors: Vec<ConfigError>,
    pub(super) origins: Origins,
}

impl Context {
    pub(super) fn report(&mut self, origin: &Origin, path: &str, problem: Problem) {
        self.errors.push(ConfigError {
            origin: origin.clone(),
            key: path.to_owned(),
            problem,
        });
    }

    /// Reports a value that is not what its key takes.
    pub(super) fn refuse(&mut self, node: &Node, path: &str, accepted: &str, hint: Option<String>) {
        let (found, accepted) = (node.shown(), accepted.to_owned());
        let problem = Problem::Invalid {
            found,
            accepted,
            hint,
        };
        self.report(&node.at, path, problem);
    }
}

/// Where each key that was set came from, by its path.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins(HashMap<String, Origin>);

impl Origins {
    pub(super) fn note(&mut self, path: &str, at: &Origin) {
        self.0.insert(path.to_owned(), at.clone());
    }

    /// Whether somebody set this key itself.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// The origin of the key, or of the nearest section around it that was set.
    pub(super) fn find(&self, path: &str) -> Origin {
        let mut path = path;
        loop {
            if let Some(origin) = self.0.get(path) {
                return origin.clone();
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return Origin::Default,
            }
        }
    }
}

/// Where a key is described.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) variable: String,
    pub(super) name: String,
    pub(super) alias: Option<&'static str>,
    pub(super) doc: &'static str,
    pub(super) depth: usize,
    /// False inside of a section that is not there.
    pub(super) present: bool,
    /// The first key of an item of a list.
    pub(super) starts_item: bool,
}

impl Place {
    fn inside(&self, field: &Field) -> Place {
        Place {
            path: format!("{}.{}", self.path, field.name),
            variable: if self.variable.is_empty() {
                String::new()
            } else {
                variable_inside(&self.variable, field.name)
            },
            name: field.name.to_owned(),
            alias: field.alias,
            doc: field.doc,
            depth: self.depth + 1,
            present: self.present,
            starts_item: false,
        }
    }
}

/// A key as it is described.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    /// The value as YAML; `None` for a section.
    pub(super) value: Option<String>,
    /// See [`Leaf::whole`].
    pub(super) whole: Option<Secret>,
    /// What is accepted; empty for a section.
    pub(super) accepted: String,
    /// See [`Leaf::example`].
    pub(super) example: Option<&'static str>,
    /// See [`Leaf::words`].
    pub(super) words: Vec<(&'static str, &'static str)>,
}

pub(super) fn variable_inside(variable: &str, field: &str) -> String {
    format!("{variable}_{}", field.to_ascii_uppercase())
}

impl<L: Leaf> Kind for L {
    type Value = L::Value;

    fn read(&self, value: &mut Self::Value, node: &Node, path: &str, cx: &mut Context) {
        cx.origins.note(path, &node.at);
        if let Some(parsed) = self.parse(node, path, cx) {
            *value = parsed;
        }
    }

    fn overlay(
        &self,
        value: &mut Self::Value,
        name: &str,
        path: &str,
        variable: &Variable,
        cx: &mut Context,
    ) -> bool {
        if variable.name != name {
            return false;
        }
        self.read(
            value,
            &self.environment_node(&variable.text, &variable.at),
            path,
            cx,
        );
        true
    }

    fn describe(&self, value: &Self::Value, place: Place, out: &mut Vec<Entry>) {
        out.push(Entry {
            place,
            value: Some(self.text(value)),
            whole: Some(self.whole(value)),
            accepted: self.accepted(),
            example: self.example(),
            words: self.words(),
        });
    }
}

/// Reads the keys of a section from a mapping; reports those that are unknown.
pub(super) fn read_section<T: Section>(section: &mut T, node: &Node, path: &str, cx: &mut Context) {
    let pairs = match &node.data {
        Data::Map(pairs) => pairs.as_slice(),
        // `http:` and nothing else: all of its keys have their defaults.
        Data::Null => &[],
        Data::Scalar(_) | Data::List(_) => {
            return cx.refuse(node, path, "a mapping of keys to values", None);
        }
    };
    let mut reader = Reader {
        pairs,
        path,
        cx,
        known: Vec::new(),
    };
    section.visit(&mut reader);
    let known = reader.known;
    for pair in pairs
        .iter()
        .filter(|pair| !known.contains(&pair.key.as_str()))
    {
        let problem = hints::unknown_key(&pair.key, path, &known);
        cx.report(&pair.key_at, &format!("{path}.{}", pair.key), problem);
    }
}

struct Reader<'a> {
    pairs: &'a [Pair],
    path: &'a str,
    cx: &'a mut Context,
    known: Vec<&'static str>,
}

impl Visitor for Reader<'_> {
    fn field<K: Kind>(&mut self, field: &Field, value: &mut K::Value, kind: &K) {
        self.known.push(field.name);
        self.known.extend(field.alias);
        let path = format!("{}.{}", self.path, field.name);
        let mut found = self
            .pairs
            .iter()
            .filter(|pair| pair.key == field.name || Some(pair.key.as_str()) == field.alias);
        if let Some(pair) = found.next() {
            self.cx.origins.note(&path, &pair.key_at);
            kind.read(value, &pair.node, &path, self.cx);
        }
        for second in found {
            let message = format!(
                "`{}` is another name of `{}`; keep one",
                field.alias.unwrap_or_default(),
                field.name
            );
            self.cx
                .report(&second.key_at, &path, Problem::Conflict { message });
        }
    }
}

struct Overlay<'a> {
    name: &'a str,
    path: &'a str,
    variable: &'a Variable,
    cx: &'a mut Context,
    found: bool,
}

impl Visitor for Overlay<'_> {
    fn field<K: Kind>(&mut self, field: &Field, value: &mut K::Value, kind: &K) {
        let path = format!("{}.{}", self.path, field.name);
        for name in [Some(field.name), field.alias].into_iter().flatten() {
            let name = variable_inside(self.name, name);
            self.found = self.found || kind.overlay(value, &name, &path, self.variable, self.cx);
        }
    }
}

pub(super) fn overlay_section<T: Section>(
    section: &mut T,
    name: &str,
    path: &str,
    variable: &Variable,
    cx: &mut Context,
) -> bool {
    // Cheap, and keeps a variable from being tried in sections that it cannot mean.
    if !variable.name.starts_with(name) {
        return false;
    }
    let mut overlay = Overlay {
        name,
        path,
        variable,
        cx,
        found: false,
    };
    section.visit(&mut overlay);
    overlay.found
}

struct Describer<'a> {
    place: &'a Place,
    out: &'a mut Vec<Entry>,
}

impl Visitor for Describer<'_> {
    fn field<K: Kind>(&mut self, field: &Field, value: &mut K::Value, kind: &K) {
        kind.describe(value, self.place.inside(field), self.out);
    }
}

/// Describes the keys of a section, without the section itself.
pub(super) fn describe_section<T: Section>(section: &T, place: &Place, out: &mut Vec<Entry>) {
    section.clone().visit(&mut Describer { place, out });
}

/// A section as it is described.
pub(super) fn heading(place: &Place) -> Entry {
    Entry {
        place: place.clone(),
        value: None,
        whole: None,
        accepted: String::new(),
        example: None,
        words: Vec::new(),
    }
}

/// The origin of all values of one environment variable.
pub(super) fn environment_origin(name: &str) -> Origin {
    Origin::Environment {
        name: Arc::from(name),
    }
}

/// Declares a section: `name: Type = default => kind`, optionally `name | second name: …`.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        pub struct $section:ident {
            $(
                $(#[doc = $doc:literal])+
                $name:ident $(| $alias:ident)? : $type:ty = $default:expr => $kind:expr,
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $section {
            $(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!("Default: `", stringify!($default), "`.")]
                pub $name: $type,
            )*
        }

        impl Default for $section {
            fn default() -> Self {
                $section { $($name: $default,)* }
            }
        }

        impl $crate::config::schema::Section for $section {
            fn visit<V: $crate::config::schema::Visitor>(&mut self, visitor: &mut V) {
                $(
                    let field = $crate::config::schema::Field {
                        name: stringify!($name),
                        alias: None $(.or(Some(stringify!($alias))))?,
                        doc: concat!($($doc, "\n"),+),
                    };
                    visitor.field(&field, &mut self.$name, &$kind);
                )*
            }
        }
    };
}

pub(super) use section;
