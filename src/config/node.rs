//! YAML text → a tree in which each node remembers its line and column.
//!
//! `serde_yaml` gives no positions for values that parsed well, and an error such as "wrong unit" is only found after
//! that. So the tree is built from the events of a YAML 1.2 parser. Scalars stay text: what `on`, `10s` or `1935`
//! means is for the key to say. Aliases are resolved, merge keys (`<<`) applied, duplicate keys refused.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::error::{ConfigError, Origin, Problem, shown};

/// The largest file that is read, in bytes. A configuration of a thousand vhosts is a tenth of it; what is larger is
/// some other file.
pub(super) const MAX_FILE_BYTES: usize = 4 << 20;
/// The most nodes that aliases may unfold to: nine nested lists of nine aliases each are a few hundred bytes of text
/// and would fill the memory.
const MAX_NODES: usize = 200_000;
/// The deepest nesting: our keys are six deep, and each level is a stack frame of the functions that walk the tree.
const MAX_DEPTH: usize = 32;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Origin,
    pub(super) data: Data,
}

/// What a value is made of.
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// Nothing, `~` or `null`.
    Null,
    /// Anything else that is neither a list nor a mapping; always text.
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Pair>),
}

/// A key of a mapping and its value.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) key_at: Origin,
    pub(super) node: Node,
}

impl Node {
    /// A scalar that did not come from a file.
    pub(super) fn scalar(at: &Origin, text: &str) -> Node {
        Node {
            at: at.clone(),
            data: Data::Scalar(text.to_owned()),
        }
    }

    /// The value as an error repeats it.
    pub(super) fn shown(&self) -> String {
        match &self.data {
            Data::Null => "nothing".to_owned(),
            Data::Scalar(text) => shown(text),
            Data::List(items) if items.is_empty() => "an empty list".to_owned(),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a mapping".to_owned(),
        }
    }

    fn count(&self) -> usize {
        1 + match &self.data {
            Data::Null | Data::Scalar(_) => 0,
            Data::List(items) => items.iter().map(Node::count).sum(),
            Data::Map(pairs) => pairs.iter().map(|pair| 1 + pair.node.count()).sum(),
        }
    }

    fn depth(&self) -> usize {
        1 + match &self.data {
            Data::Null | Data::Scalar(_) => 0,
            Data::List(items) => items.iter().map(Node::depth).max().unwrap_or(0),
            Data::Map(pairs) => pairs
                .iter()
                .map(|pair| pair.node.depth())
                .max()
                .unwrap_or(0),
        }
    }
}

/// Builds the tree of a text of one YAML document. `file` is only a name, for errors.
///
/// Duplicate keys go to `errors` and the first value stays; a text that is no YAML goes there too and gives `None`.
/// An empty text is [`Data::Null`].
pub(super) fn parse(text: &str, file: &Arc<str>, errors: &mut Vec<ConfigError>) -> Option<Node> {
    let mut builder = Builder {
        file: Arc::clone(file),
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
        errors,
    };
    // A byte order mark is not part of the document, and some editors write one.
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        match event {
            Ok((event, span)) => builder.event(event, span)?,
            Err(error) => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                let (line, column, message) = explain(text, line, column, error.info());
                builder.fail(builder.place(line, column), message);
                return None;
            }
        }
    }
    Some(builder.root.unwrap_or(Node {
        at: super::whole_file(file),
        data: Data::Null,
    }))
}

/// Puts the common mistakes, which the parser names by its own state, into plain words; everything else as it says it.
fn explain(text: &str, line: usize, column: usize, info: &str) -> (usize, usize, String) {
    // A tab that ends a value is found on the value's line, though it stands on the next.
    let next = if info.contains("tab") { line + 1 } else { 0 };
    for candidate in [line, line.saturating_sub(1), next] {
        let Some(content) = candidate.checked_sub(1).and_then(|n| text.lines().nth(n)) else {
            continue;
        };
        let indent = content.len() - content.trim_start().len();
        let tab = content.get(..indent).and_then(|blank| blank.find('\t'));
        if let Some(tab) = tab {
            let message = "a tab is used for indentation; YAML takes spaces only".to_owned();
            return (candidate, tab + 1, message);
        }
        let template = ["[vhost]", "[app]", "[stream]"]
            .iter()
            .filter_map(|v| content.find(v))
            .min();
        if let Some(at) = template
            && !content
                .get(..at)
                .is_some_and(|before| before.contains(['"', '\'']))
        {
            let column = content
                .get(..at)
                .map_or(1, |before| before.chars().count() + 1);
            let message =
                "a mount template needs quotes, as in \"[vhost]/[app]/[stream].flv\"".to_owned();
            return (candidate, column, message);
        }
    }
    match info {
        "simple key expect ':'" => {
            let before = text.lines().enumerate().take(line.saturating_sub(1));
            let written = before
                .filter(|(_, content)| !content.trim().is_empty())
                .last();
            let (line, column) = written.map_or((line, column), |(index, content)| {
                (
                    index + 1,
                    content.chars().take_while(|c| *c == ' ').count() + 1,
                )
            });
            (
                line,
                column,
                "a key without its colon; write `key: value`".to_owned(),
            )
        }
        "mapping values are not allowed in this context" => {
            let message =
                "a colon that ends no key here; wrong indentation, or a value that needs quotes";
            (line, column, message.to_owned())
        }
        "while parsing a block mapping, did not find expected key" => {
            let message = "no `key: value` of the section around it; wrong indentation, or a value that needs quotes";
            (line, column, message.to_owned())
        }
        _ => (line, column, info.to_owned()),
    }
}

enum Frame {
    List {
        at: Origin,
        anchor: usize,
        items: Vec<Node>,
    },
    Map {
        at: Origin,
        anchor: usize,
        pairs: Vec<Pair>,
        merges: Vec<Node>,
        key: Option<(String, Origin)>,
    },
}

struct Builder<'a> {
    file: Arc<str>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
    errors: &'a mut Vec<ConfigError>,
}

impl Builder<'_> {
    fn place(&self, line: usize, column: usize) -> Origin {
        Origin::File {
            name: Arc::clone(&self.file),
            line,
            column,
        }
    }

    fn report(&mut self, origin: Origin, problem: Problem) {
        let key = self.path();
        self.errors.push(ConfigError {
            origin,
            key,
            problem,
        });
    }

    fn fail(&mut self, origin: Origin, message: String) {
        self.errors.push(ConfigError {
            origin,
            key: String::new(),
            problem: Problem::Syntax { message },
        });
    }

    /// The path of what is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match frame {
                Frame::List { items, .. } => path.push_str(&format!("[{}]", items.len())),
                Frame::Map {
                    key: Some((key, _)),
                    ..
                } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key);
                }
                Frame::Map { key: None, .. } => {}
            }
        }
        path
    }

    /// `None` when reading cannot go on; the reason was reported.
    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = self.place(span.start.line(), span.start.col() + 1);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(&at, tag.as_deref());
                let null = style == ScalarStyle::Plain
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let data = if null && !self.expects_key() {
                    Data::Null
                } else {
                    Data::Scalar(text.into_owned())
                };
                self.add(Node { at, data }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(&at, tag.as_deref());
                let items = Vec::new();
                self.open(Frame::List { at, anchor, items })
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(&at, tag.as_deref());
                self.open(Frame::Map {
                    at,
                    anchor,
                    pairs: Vec::new(),
                    merges: Vec::new(),
                    key: None,
                })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some(node) => {
                    self.nodes = self.nodes.saturating_add(node.count());
                    if self.nodes > MAX_NODES || self.stack.len() + node.depth() > MAX_DEPTH {
                        self.fail(
                            at,
                            "aliases unfold to more than a configuration can hold".to_owned(),
                        );
                        return None;
                    }
                    self.add(node, 0)
                }
                None => {
                    self.fail(
                        at,
                        "an alias inside of the value that it stands for".to_owned(),
                    );
                    None
                }
            },
            Event::DocumentStart(_) if self.root.is_some() => {
                self.fail(at, "a second document; a configuration is one".to_owned());
                None
            }
            _ => Some(()),
        }
    }

    fn refuse_tag(&mut self, at: &Origin, tag: Option<&saphyr_parser::Tag>) {
        if let Some(tag) = tag {
            let message = format!("the tag {tag} has no meaning here");
            self.report(at.clone(), Problem::Syntax { message });
        }
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Map { key: None, .. }))
    }

    fn open(&mut self, frame: Frame) -> Option<()> {
        let (Frame::List { at, .. } | Frame::Map { at, .. }) = &frame;
        let at = at.clone();
        if self.expects_key() {
            self.fail(at, "a list or a mapping is used as a key".to_owned());
            return None;
        }
        if self.stack.len() >= MAX_DEPTH {
            self.fail(at, format!("nested deeper than {MAX_DEPTH} levels"));
            return None;
        }
        self.stack.push(frame);
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        let (node, anchor) = match self.stack.pop()? {
            Frame::List { at, anchor, items } => {
                let data = Data::List(items);
                (Node { at, data }, anchor)
            }
            Frame::Map {
                at,
                anchor,
                mut pairs,
                merges,
                ..
            } => {
                for merge in merges {
                    self.merge(&mut pairs, merge);
                }
                let data = Data::Map(pairs);
                (Node { at, data }, anchor)
            }
        };
        self.add(node, anchor)
    }

    /// YAML merge key: keys of the mapping itself, then of earlier merges, go first.
    fn merge(&mut self, pairs: &mut Vec<Pair>, merge: Node) {
        match merge.data {
            Data::Map(merged) => {
                for pair in merged {
                    if !pairs.iter().any(|known| known.key == pair.key) {
                        pairs.push(pair);
                    }
                }
            }
            Data::List(items) if items.iter().all(|item| matches!(item.data, Data::Map(_))) => {
                for item in items {
                    self.merge(pairs, item);
                }
            }
            _ => {
                let message = "`<<` takes a mapping, such as an alias of one".to_owned();
                self.report(merge.at, Problem::Syntax { message });
            }
        }
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Option<()> {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let file = Arc::clone(&self.file);
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map {
                pairs, merges, key, ..
            }) => match key.take() {
                None => match node.data {
                    Data::Scalar(text) => *key = Some((text, node.at)),
                    _ => {
                        self.fail(node.at, "a list or a mapping is used as a key".to_owned());
                        return None;
                    }
                },
                Some((name, _)) if name == "<<" => merges.push(node),
                Some((name, key_at)) => match pairs.iter().find(|pair| pair.key == name) {
                    None => pairs.push(Pair {
                        key: name,
                        key_at,
                        node,
                    }),
                    Some(first) => {
                        let first_line = match &first.key_at {
                            Origin::File { name, line, .. } if *name == file => *line,
                            _ => 0,
                        };
                        *key = Some((name, key_at.clone()));
                        self.report(key_at, Problem::Duplicate { first_line });
                        if let Some(Frame::Map { key, .. }) = self.stack.last_mut() {
                            *key = None;
                        }
                    }
                },
            },
        }
        Some(())
    }
}
