//! The layer between the keys and everything that is done with them.
//!
//! Each section of the configuration is declared once, by [`section!`], as a table of
//! `name: Type = default => kind`, with a doc comment for each key. From that one table come the Rust structure with its
//! documentation, reading it from YAML, setting it from the environment, hints for mistyped keys, what
//! `--print-config` shows, and the reference file. All of these are [`Visitor`]s or methods of a [`Kind`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::error::{ConfigError, Origin, Problem};
use super::hints;
use super::node::{Data, Node, Pair};

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
    fn overlay(&self, value: &mut Self::Value, name: &str, path: &str, variable: &Variable, cx: &mut Context) -> bool;

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

    /// The value as YAML, on one line.
    fn text(&self, value: &Self::Value) -> String;

    /// What the reference shows for a value that has no default.
    fn example(&self) -> Option<&'static str> {
        None
    }

    /// The text of an environment variable as a node.
    fn from_environment(&self, text: &str, at: &Origin) -> Node {
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
        let problem = Problem::Invalid { found, accepted, hint };
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
    /// What is accepted; empty for a section.
    pub(super) accepted: String,
    /// See [`Leaf::example`].
    pub(super) example: Option<&'static str>,
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

    fn overlay(&self, value: &mut Self::Value, name: &str, path: &str, variable: &Variable, cx: &mut Context) -> bool {
        if variable.name != name {
            return false;
        }
        self.read(value, &self.from_environment(&variable.text, &variable.at), path, cx);
        true
    }

    fn describe(&self, value: &Self::Value, place: Place, out: &mut Vec<Entry>) {
        out.push(Entry {
            place,
            value: Some(self.text(value)),
            accepted: self.accepted(),
            example: self.example(),
        });
    }
}

/// Reads the keys of a section from a mapping; reports those that are unknown.
pub(super) fn read_section<T: Section>(section: &mut T, node: &Node, path: &str, cx: &mut Context) {
    let pairs = match &node.data {
        Data::Map(pairs) => pairs.as_slice(),
        // `http:` and nothing else: all of its keys have their defaults.
        Data::Null => &[],
        Data::Scalar(_) | Data::List(_) => return cx.refuse(node, path, "a mapping of keys to values", None),
    };
    let mut reader = Reader {
        pairs,
        path,
        cx,
        known: Vec::new(),
    };
    section.visit(&mut reader);
    let known = reader.known;
    for pair in pairs.iter().filter(|pair| !known.contains(&pair.key.as_str())) {
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
        let mut found = self.pairs.iter().filter(|pair| pair.key == field.name || Some(pair.key.as_str()) == field.alias);
        if let Some(pair) = found.next() {
            self.cx.origins.note(&path, &pair.key_at);
            kind.read(value, &pair.node, &path, self.cx);
        }
        for second in found {
            let message = format!("`{}` is another name of `{}`; keep one", field.alias.unwrap_or_default(), field.name);
            self.cx.report(&second.key_at, &path, Problem::Conflict { message });
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

fn heading(place: &Place) -> Entry {
    Entry {
        place: place.clone(),
        value: None,
        accepted: String::new(),
        example: None,
    }
}

/// A section that is always there.
pub(super) struct Nested<T>(std::marker::PhantomData<T>);

pub(super) const fn nested<T: Section>() -> Nested<T> {
    Nested(std::marker::PhantomData)
}

impl<T: Section> Kind for Nested<T> {
    type Value = T;

    fn read(&self, value: &mut T, node: &Node, path: &str, cx: &mut Context) {
        read_section(value, node, path, cx);
    }

    fn overlay(&self, value: &mut T, name: &str, path: &str, variable: &Variable, cx: &mut Context) -> bool {
        overlay_section(value, name, path, variable, cx)
    }

    fn describe(&self, value: &T, place: Place, out: &mut Vec<Entry>) {
        out.push(heading(&place));
        describe_section(value, &place, out);
    }
}

/// A section that is there once one of its keys is set.
pub(super) struct Optional<T>(std::marker::PhantomData<T>);

pub(super) const fn optional<T: Section>() -> Optional<T> {
    Optional(std::marker::PhantomData)
}

impl<T: Section> Kind for Optional<T> {
    type Value = Option<T>;

    fn read(&self, value: &mut Option<T>, node: &Node, path: &str, cx: &mut Context) {
        *value = match node.data {
            Data::Null => None,
            _ => {
                let mut section = T::default();
                read_section(&mut section, node, path, cx);
                Some(section)
            }
        };
    }

    fn overlay(&self, value: &mut Option<T>, name: &str, path: &str, variable: &Variable, cx: &mut Context) -> bool {
        let mut section = value.clone().unwrap_or_default();
        let found = overlay_section(&mut section, name, path, variable, cx);
        if found {
            if value.is_none() {
                cx.origins.note(path, &variable.at);
            }
            *value = Some(section);
        }
        found
    }

    fn describe(&self, value: &Option<T>, mut place: Place, out: &mut Vec<Entry>) {
        place.present &= value.is_some();
        out.push(heading(&place));
        match value {
            Some(section) => describe_section(section, &place, out),
            None => describe_section(&T::default(), &place, out),
        }
    }
}

/// A list of sections, that the environment can give one item, in the form that [`Item`] says.
pub(super) struct Items<T>(std::marker::PhantomData<T>);

pub(super) const fn items<T: Section + Item>() -> Items<T> {
    Items(std::marker::PhantomData)
}

/// A section of which there is a list.
pub(super) trait Item: Section {
    /// What an environment variable has to hold.
    const IN_ENVIRONMENT: &'static str;
    /// One item from the text of an environment variable.
    fn from_environment(text: &str) -> Option<Self>;
}

impl<T: Item> Kind for Items<T> {
    type Value = Vec<T>;

    fn read(&self, value: &mut Vec<T>, node: &Node, path: &str, cx: &mut Context) {
        cx.origins.note(path, &node.at);
        let Data::List(nodes) = &node.data else {
            let hint = matches!(node.data, Data::Map(_)).then(|| "begin each item with a dash".to_owned());
            return cx.refuse(node, path, "a list of mappings", hint);
        };
        value.clear();
        for (index, node) in nodes.iter().enumerate() {
            let path = format!("{path}[{index}]");
            cx.origins.note(&path, &node.at);
            let mut item = T::default();
            read_section(&mut item, node, &path, cx);
            value.push(item);
        }
    }

    fn overlay(&self, value: &mut Vec<T>, name: &str, path: &str, variable: &Variable, cx: &mut Context) -> bool {
        if variable.name != name {
            return false;
        }
        cx.origins.note(path, &variable.at);
        match T::from_environment(&variable.text) {
            Some(item) => {
                cx.origins.note(&format!("{path}[0]"), &variable.at);
                *value = vec![item];
            }
            None if variable.text.is_empty() => value.clear(),
            None => cx.refuse(&Node::scalar(&variable.at, &variable.text), path, T::IN_ENVIRONMENT, None),
        }
        true
    }

    fn describe(&self, value: &Vec<T>, place: Place, out: &mut Vec<Entry>) {
        // Without an item, one is described as it would be, but only where an absent section is described too.
        let described = if value.is_empty() && !place.present {
            vec![T::default()]
        } else {
            value.clone()
        };
        let mut head = heading(&place);
        head.accepted = format!("a list of mappings; in the environment {}", T::IN_ENVIRONMENT);
        if described.is_empty() {
            head.value = Some("[]".to_owned());
        }
        out.push(head);
        for (index, item) in described.iter().enumerate() {
            let mut inside = place.clone();
            inside.path = format!("{}[{index}]", place.path);
            inside.variable = String::new();
            inside.depth += 1;
            let first = out.len();
            describe_section(item, &inside, out);
            if let Some(entry) = out.get_mut(first) {
                entry.place.starts_item = true;
            }
        }
    }
}

/// Sections by name, where the environment speaks to all of them.
pub(super) struct Named<T> {
    /// The variable's last part: keys of a vhost are `…_VHOST_…`, though they stand under `vhosts`.
    pub(super) variable: &'static str,
    /// Brings a name into the form in which it is looked up, or says why it is none.
    pub(super) name: fn(&str) -> Result<String, Option<String>>,
    /// What a name has to be.
    pub(super) accepted: &'static str,
    pub(super) section: std::marker::PhantomData<T>,
}

impl<T: Section> Kind for Named<T> {
    type Value = BTreeMap<String, T>;

    fn read(&self, value: &mut BTreeMap<String, T>, node: &Node, path: &str, cx: &mut Context) {
        let pairs = match &node.data {
            Data::Map(pairs) => pairs.as_slice(),
            Data::Null => &[],
            Data::Scalar(_) | Data::List(_) => return cx.refuse(node, path, "a mapping of names to settings", None),
        };
        let mut seen: HashMap<String, &Origin> = HashMap::new();
        for pair in pairs {
            let written = format!("{path}.{}", pair.key);
            let name = match (self.name)(&pair.key) {
                Ok(name) => name,
                Err(hint) => {
                    cx.refuse(&Node::scalar(&pair.key_at, &pair.key), path, self.accepted, hint);
                    continue;
                }
            };
            if let Some(Origin::File { line, .. }) = seen.get(&name) {
                cx.report(&pair.key_at, &written, Problem::Duplicate { first_line: *line });
                continue;
            }
            let path = format!("{path}.{name}");
            cx.origins.note(&path, &pair.key_at);
            read_section(value.entry(name.clone()).or_default(), &pair.node, &path, cx);
            seen.insert(name, &pair.key_at);
        }
    }

    fn overlay(
        &self,
        value: &mut BTreeMap<String, T>,
        name: &str,
        path: &str,
        variable: &Variable,
        cx: &mut Context,
    ) -> bool {
        let name = self.variable_for(name);
        let mut found = false;
        for (key, section) in value.iter_mut() {
            // One mistake is one error, however many sections it would have gone to.
            let errors = cx.errors.len();
            found |= overlay_section(section, &name, &format!("{path}.{key}"), variable, cx);
            if cx.errors.len() > errors {
                return true;
            }
        }
        found
    }

    fn describe(&self, value: &BTreeMap<String, T>, mut place: Place, out: &mut Vec<Entry>) {
        out.push(heading(&place));
        place.variable = self.variable_for(&place.variable);
        for (key, section) in value {
            let mut inside = place.clone();
            inside.path = format!("{}.{key}", place.path);
            inside.name.clone_from(key);
            inside.doc = "";
            inside.depth += 1;
            out.push(heading(&inside));
            describe_section(section, &inside, out);
        }
    }
}

impl<T> Named<T> {
    /// `…_VHOSTS` → `…_VHOST`.
    fn variable_for(&self, plural: &str) -> String {
        match plural.rsplit_once('_') {
            Some((before, _)) => format!("{before}_{}", self.variable),
            None => self.variable.to_owned(),
        }
    }
}

/// The origin of all values of one environment variable.
pub(super) fn environment_origin(name: &str) -> Origin {
    Origin::Environment { name: Arc::from(name) }
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
