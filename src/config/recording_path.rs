//! Where recordings go: a path with variables, such as `./objs/recordings/[app]/[stream].[timestamp].flv`.
//!
//! The variables are SRS's, whose dates are written as Go writes them: the moment of 2006-01-02 15:04:05.999 stands for
//! the moment at which the file begins, in local time. `[timestamp]` is that moment in milliseconds since 1970.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The default. Not SRS's own folder, which is that of its web server.
const DEFAULT: &str = "./objs/recordings/[app]/[stream].[timestamp].flv";
/// What a recording's name ends in.
const SUFFIX: &str = ".flv";

/// A template that was read, ready to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingPath {
    text: String,
    parts: Vec<Part>,
}

/// The moment at which a file begins, as a clock on the wall shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Such as 2006.
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 60: leap seconds.
    pub second: u32,
    /// 0 to 999.
    pub millisecond: u32,
    /// Milliseconds since 1970 in UTC.
    pub timestamp_ms: u64,
}

/// Whose stream is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The vhost as configured.
    pub vhost: &'a str,
    /// The app; its slashes make folders.
    pub app: &'a str,
    /// The stream's name.
    pub stream: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    Vhost,
    App,
    Stream,
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    Timestamp,
}

/// All variables, as they are written.
const VARIABLES: [(&str, Variable); 11] = [
    ("vhost", Variable::Vhost),
    ("app", Variable::App),
    ("stream", Variable::Stream),
    ("2006", Variable::Year),
    ("01", Variable::Month),
    ("02", Variable::Day),
    ("15", Variable::Hour),
    ("04", Variable::Minute),
    ("05", Variable::Second),
    ("999", Variable::Millisecond),
    ("timestamp", Variable::Timestamp),
];

/// Why a template is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingPathError {
    /// Recordings are FLV.
    #[error("a recording is FLV: the path ends in .flv")]
    NotFlv,
    /// A name of nothing but the ending.
    #[error("the name of the file is missing before .flv")]
    NoName,
    /// Something in brackets that is no variable.
    #[error(
        "{0} is unknown; variables are [vhost], [app], [stream], [2006], [01], [02], [15], [04], [05], [999] and \
         [timestamp]"
    )]
    UnknownVariable(String),
    /// A bracket without its partner.
    #[error("a bracket is not closed, or not opened")]
    Bracket,
    /// A control character.
    #[error("{0:?} cannot stand in a path")]
    Character(char),
    /// A segment `..`.
    #[error("\"..\" cannot stand in a path of recordings")]
    Dots,
    /// `/[app]/…`: at the start of the server, recordings that a crash left are looked for in the folder before the first variable.
    #[error(
        "recordings need a folder of their own before the first variable, as in \"/data/[app]/[stream].flv\""
    )]
    Root,
}

impl Default for RecordingPath {
    fn default() -> Self {
        let variable = |variable| Part::Variable(variable);
        let text = |text: &str| Part::Text(text.to_owned());
        Self {
            text: DEFAULT.to_owned(),
            parts: vec![
                text("./objs/recordings/"),
                variable(Variable::App),
                text("/"),
                variable(Variable::Stream),
                text("."),
                variable(Variable::Timestamp),
                text(SUFFIX),
            ],
        }
    }
}

impl fmt::Display for RecordingPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl RecordingPath {
    /// The template, as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path of a file that begins at `at`. Relative to the working folder unless the template is absolute.
    pub fn render(&self, names: Names<'_>, at: &Moment) -> PathBuf {
        let mut path = String::with_capacity(self.text.len() + 32);
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Variable(variable) => path.push_str(&variable.value(names, at)),
            }
        }
        path.into()
    }

    /// The folder in which all its files lie, however the variables are filled in: what stands before the first of them, up to
    /// its last slash. `.` when nothing does.
    pub fn root(&self) -> PathBuf {
        let fixed = match self.parts.first() {
            Some(Part::Text(text)) => text.as_str(),
            _ => "",
        };
        match fixed.rsplit_once('/') {
            Some(("", _)) => "/".into(),
            Some((folder, _)) => folder.into(),
            None => ".".into(),
        }
    }

    /// Whether files that begin at other seconds have other names.
    pub fn tells_seconds_apart(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Variable(Variable::Second | Variable::Timestamp)))
    }
}

impl Variable {
    fn value(self, names: Names<'_>, at: &Moment) -> String {
        match self {
            Self::Vhost => names.vhost.to_owned(),
            Self::App => names.app.to_owned(),
            Self::Stream => names.stream.to_owned(),
            Self::Year => format!("{:04}", at.year),
            Self::Month => format!("{:02}", at.month),
            Self::Day => format!("{:02}", at.day),
            Self::Hour => format!("{:02}", at.hour),
            Self::Minute => format!("{:02}", at.minute),
            Self::Second => format!("{:02}", at.second),
            Self::Millisecond => format!("{:03}", at.millisecond),
            Self::Timestamp => at.timestamp_ms.to_string(),
        }
    }
}

impl FromStr for RecordingPath {
    type Err = RecordingPathError;

    fn from_str(text: &str) -> Result<Self, RecordingPathError> {
        let stem = text
            .strip_suffix(SUFFIX)
            .ok_or(RecordingPathError::NotFlv)?;
        if stem.is_empty() || stem.ends_with('/') {
            return Err(RecordingPathError::NoName);
        }
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(RecordingPathError::Character(c));
        }
        if text.split('/').any(|segment| segment == "..") {
            return Err(RecordingPathError::Dots);
        }
        let path = Self {
            text: text.to_owned(),
            parts: parse(text)?,
        };
        if path.root().as_os_str() == "/" {
            return Err(RecordingPathError::Root);
        }
        Ok(path)
    }
}

fn parse(text: &str) -> Result<Vec<Part>, RecordingPathError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (before, from_bracket) = match rest.find(['[', ']']) {
            Some(at) => rest
                .split_at_checked(at)
                .ok_or(RecordingPathError::Bracket)?,
            None => (rest, ""),
        };
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        if from_bracket.is_empty() {
            break;
        }
        let (name, after) = from_bracket
            .strip_prefix('[')
            .and_then(|inside| inside.split_once(']'))
            .ok_or(RecordingPathError::Bracket)?;
        let variable = VARIABLES.iter().find(|(known, _)| *known == name);
        match variable {
            Some((_, variable)) => parts.push(Part::Variable(*variable)),
            None => return Err(RecordingPathError::UnknownVariable(format!("[{name}]"))),
        }
        rest = after;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names {
        vhost: "a.example",
        app: "live/hd",
        stream: "cam",
    };

    /// 2015-01-03 10:57:30.776, the example of SRS's manual.
    const AT: Moment = Moment {
        year: 2015,
        month: 1,
        day: 3,
        hour: 10,
        minute: 57,
        second: 30,
        millisecond: 776,
        timestamp_ms: 1_420_254_068_776,
    };

    fn render(template: &str) -> String {
        let path: RecordingPath = template.parse().unwrap();
        path.render(NAMES, &AT).to_str().unwrap().to_owned()
    }

    #[test]
    fn variables_are_filled_in() {
        assert_eq!(
            render("/data/[vhost]/[app]/[stream]/[2006]/[01]/[02]/[15].[04].[05].[999].flv"),
            "/data/a.example/live/hd/cam/2015/01/03/10.57.30.776.flv"
        );
        assert_eq!(
            render("./r/[stream]-[timestamp].flv"),
            "./r/cam-1420254068776.flv"
        );
        assert_eq!(render("x/[stream][stream].flv"), "x/camcam.flv");
        // What a variable stands for is not looked at again.
        let path: RecordingPath = "r/[app].flv".parse().unwrap();
        let names = Names {
            app: "[stream]",
            ..NAMES
        };
        assert_eq!(path.render(names, &AT).to_str(), Some("r/[stream].flv"));
    }

    #[test]
    fn the_default_is_what_its_text_says() {
        let default = RecordingPath::default();
        assert_eq!(default.as_str().parse(), Ok(default.clone()));
        assert!(default.tells_seconds_apart());
    }

    #[test]
    fn mistakes_have_reasons() {
        use RecordingPathError::*;
        for (template, error) in [
            ("./objs/[stream].mp4", NotFlv),
            ("./objs/nginx/html", NotFlv),
            ("", NotFlv),
            (".flv", NoName),
            ("a/.flv", NoName),
            (
                "a/[stream].[2007].flv",
                UnknownVariable("[2007]".to_owned()),
            ),
            ("a/[Stream].flv", UnknownVariable("[Stream]".to_owned())),
            ("a/[stream.flv", Bracket),
            ("a/stream].flv", Bracket),
            ("a/[[stream].flv", UnknownVariable("[[stream]".to_owned())),
            ("a/\n.flv", Character('\n')),
            ("../[stream].flv", Dots),
            ("/[app]/[stream].flv", Root),
            ("/x.flv", Root),
        ] {
            assert_eq!(template.parse::<RecordingPath>(), Err(error), "{template}");
        }
    }

    #[test]
    fn the_folder_of_all_its_files() {
        for (template, root) in [
            ("/data/[app]/[stream].flv", "/data"),
            ("/data/a-[app]/[stream].flv", "/data"),
            ("./objs/x/[stream].flv", "./objs/x"),
            ("[app]/[stream].flv", "."),
            ("a/b.flv", "a"),
        ] {
            let path: RecordingPath = template.parse().unwrap();
            assert_eq!(path.root().to_str(), Some(root), "{template}");
        }
    }

    #[test]
    fn a_day_is_not_enough_to_tell_segments_apart() {
        for (template, apart) in [
            ("a/[stream].flv", false),
            ("a/[stream].[2006][01][02].flv", false),
            ("a/[stream].[999].flv", false),
            ("a/[stream].[05].flv", true),
            ("a/[timestamp].flv", true),
        ] {
            let path: RecordingPath = template.parse().unwrap();
            assert_eq!(path.tells_seconds_apart(), apart, "{template}");
        }
    }
}
