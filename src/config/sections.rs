//! The kinds of keys that hold sections: one, none or one, a list of them, or some by name.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;

use super::error::{Origin, Problem};
use super::node::{Data, Node};
use super::schema::{
    Context, Entry, Kind, Place, Section, Variable, describe_section, heading, overlay_section,
    read_section,
};

/// A section that is always there.
pub(super) struct Nested<T>(PhantomData<T>);

pub(super) const fn nested<T: Section>() -> Nested<T> {
    Nested(PhantomData)
}

impl<T: Section> Kind for Nested<T> {
    type Value = T;

    fn read(&self, value: &mut T, node: &Node, path: &str, cx: &mut Context) {
        read_section(value, node, path, cx);
    }

    fn overlay(
        &self,
        value: &mut T,
        name: &str,
        path: &str,
        variable: &Variable,
        cx: &mut Context,
    ) -> bool {
        overlay_section(value, name, path, variable, cx)
    }

    fn describe(&self, value: &T, place: Place, out: &mut Vec<Entry>) {
        out.push(heading(&place));
        describe_section(value, &place, out);
    }
}

/// A section that is there once one of its keys is set.
pub(super) struct Optional<T>(PhantomData<T>);

pub(super) const fn optional<T: Section>() -> Optional<T> {
    Optional(PhantomData)
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

    fn overlay(
        &self,
        value: &mut Option<T>,
        name: &str,
        path: &str,
        variable: &Variable,
        cx: &mut Context,
    ) -> bool {
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

/// As [`Optional`], with a word that stands for its absence.
pub(super) struct OrWord<T> {
    word: &'static str,
    section: Optional<T>,
}

/// A section, or `word` where there is none.
pub(super) const fn or_word<T: Section>(word: &'static str) -> OrWord<T> {
    OrWord {
        word,
        section: optional(),
    }
}

impl<T: Section> Kind for OrWord<T> {
    type Value = Option<T>;

    fn read(&self, value: &mut Option<T>, node: &Node, path: &str, cx: &mut Context) {
        match &node.data {
            Data::Scalar(text) if text == self.word => *value = None,
            Data::Scalar(_) | Data::List(_) => {
                let accepted = format!("{} or a mapping of keys to values", self.word);
                cx.refuse(node, path, &accepted, None);
            }
            Data::Map(_) | Data::Null => self.section.read(value, node, path, cx),
        }
    }

    fn overlay(
        &self,
        value: &mut Option<T>,
        name: &str,
        path: &str,
        variable: &Variable,
        cx: &mut Context,
    ) -> bool {
        if variable.name == name {
            cx.origins.note(path, &variable.at);
            let node = Node::scalar(&variable.at, &variable.text);
            self.read(value, &node, path, cx);
            return true;
        }
        self.section.overlay(value, name, path, variable, cx)
    }

    fn describe(&self, value: &Option<T>, place: Place, out: &mut Vec<Entry>) {
        self.section.describe(value, place, out);
    }
}

/// A list of sections, that the environment can give one item, in the form that [`Item`] says.
pub(super) struct Items<T> {
    /// Left out of the reference, with an example, rather than shown empty.
    example: bool,
    section: PhantomData<T>,
}

pub(super) const fn items<T: Section + Item>() -> Items<T> {
    Items {
        example: false,
        section: PhantomData,
    }
}

/// As [`items`], for a list that is empty by default.
pub(super) const fn optional_items<T: Section + Item>() -> Items<T> {
    Items {
        example: true,
        section: PhantomData,
    }
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
            let hint =
                matches!(node.data, Data::Map(_)).then(|| "begin each item with a dash".to_owned());
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

    fn overlay(
        &self,
        value: &mut Vec<T>,
        name: &str,
        path: &str,
        variable: &Variable,
        cx: &mut Context,
    ) -> bool {
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
            None => cx.refuse(
                &Node::scalar(&variable.at, &variable.text),
                path,
                T::IN_ENVIRONMENT,
                None,
            ),
        }
        true
    }

    fn describe(&self, value: &Vec<T>, mut place: Place, out: &mut Vec<Entry>) {
        place.present &= !(self.example && value.is_empty());
        // Without an item, one is described as it would be, but only where an absent section is described too.
        let described = if value.is_empty() && !place.present {
            vec![T::default()]
        } else {
            value.clone()
        };
        let mut head = heading(&place);
        head.accepted = format!(
            "a list of mappings; in the environment {}",
            T::IN_ENVIRONMENT
        );
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
    /// The name under which the reference shows one when there is none by default.
    pub(super) example: &'static str,
    pub(super) section: PhantomData<T>,
}

impl<T: Section> Kind for Named<T> {
    type Value = BTreeMap<String, T>;

    fn read(&self, value: &mut BTreeMap<String, T>, node: &Node, path: &str, cx: &mut Context) {
        let pairs = match &node.data {
            Data::Map(pairs) => pairs.as_slice(),
            Data::Null => &[],
            Data::Scalar(_) | Data::List(_) => {
                return cx.refuse(node, path, "a mapping of names to settings", None);
            }
        };
        let mut seen: HashMap<String, &Origin> = HashMap::new();
        for pair in pairs {
            let written = format!("{path}.{}", pair.key);
            let name = match (self.name)(&pair.key) {
                Ok(name) => name,
                Err(hint) => {
                    cx.refuse(
                        &Node::scalar(&pair.key_at, &pair.key),
                        path,
                        self.accepted,
                        hint,
                    );
                    continue;
                }
            };
            if let Some(Origin::File { line, .. }) = seen.get(&name) {
                cx.report(
                    &pair.key_at,
                    &written,
                    Problem::Duplicate { first_line: *line },
                );
                continue;
            }
            let path = format!("{path}.{name}");
            cx.origins.note(&path, &pair.key_at);
            read_section(
                value.entry(name.clone()).or_default(),
                &pair.node,
                &path,
                cx,
            );
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
        if value.is_empty() {
            // There is nothing that it could speak to: it makes one, by the name that the reference has.
            let mut section = T::default();
            let path = format!("{path}.{}", self.example);
            let found = overlay_section(&mut section, &name, &path, variable, cx);
            if found {
                cx.origins.note(&path, &variable.at);
                value.insert(self.example.to_owned(), section);
            }
            return found;
        }
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
        let example = BTreeMap::from([(self.example.to_owned(), T::default())]);
        let described = if value.is_empty() { &example } else { value };
        place.present &= !value.is_empty();
        out.push(heading(&place));
        place.variable = self.variable_for(&place.variable);
        for (key, section) in described {
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
