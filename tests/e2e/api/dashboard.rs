//! Whether Grafana can import the dashboard: what its model of a dashboard (`schemaVersion` 39, Grafana 10.4 and newer) wants, and what it
//! would swallow without a word: two panels of one number, panels above each other, a data source that is there on one machine only.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;

/// The first schema in which a panel names its data source as here. Grafana 10.0 has 38; each later one reads the older.
const SCHEMA: u64 = 38;

/// What a panel's figures are in, by the names that Grafana knows.
const UNITS: [&str; 6] = ["short", "Bps", "bytes", "s", "ops", "percentunit"];

fn dashboard() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/grafana.json");
    let text = fs::read_to_string(file).expect("a dashboard");
    serde_json::from_str(&text).expect("JSON")
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    let found = of[name].as_str();
    found.unwrap_or_else(|| panic!("{name} in {of}"))
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    let found = of[name].as_array();
    found.unwrap_or_else(|| panic!("{name} in {of}"))
}

#[test]
fn it_has_what_an_import_reads() {
    let dashboard = dashboard();
    // A number would be that of a dashboard which is there already.
    assert_eq!(dashboard["id"], Value::Null);
    assert!(
        dashboard
            .as_object()
            .is_some_and(|all| all.contains_key("id"))
    );
    let uid = text(&dashboard, "uid");
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    assert!(
        !uid.is_empty() && uid.len() <= 40 && uid.chars().all(fits),
        "{uid}"
    );
    assert!(!text(&dashboard, "title").trim().is_empty());
    assert!(dashboard["schemaVersion"].as_u64() >= Some(SCHEMA));
    for name in ["tags", "links", "panels"] {
        list(&dashboard, name);
    }
    list(&dashboard["annotations"], "list");
    for at in ["from", "to"] {
        assert!(text(&dashboard["time"], at).starts_with("now"));
    }
}

#[test]
fn its_data_source_is_chosen_by_who_imports_it() {
    let dashboard = dashboard();
    let variables = list(&dashboard["templating"], "list");
    let of_kind =
        |kind: &str| -> Vec<&Value> { variables.iter().filter(|v| v["type"] == kind).collect() };
    let [source] = of_kind("datasource")[..] else {
        panic!("one data source")
    };
    assert_eq!(source["query"], "prometheus");
    let wanted = format!("${{{}}}", text(source, "name"));
    let names: BTreeSet<&str> = variables.iter().map(|v| text(v, "name")).collect();
    assert_eq!(names.len(), variables.len(), "each has a name of its own");
    let first = variables.iter().position(|v| v["type"] == "datasource");
    let asked = variables.iter().position(|v| v["type"] == "query");
    assert!(first < asked, "who asks it comes after it");
    for asker in of_kind("query")
        .into_iter()
        .chain(list(&dashboard, "panels"))
    {
        let named = &asker["datasource"];
        assert_eq!(
            (&named["type"], &named["uid"]),
            (&"prometheus".into(), &wanted.as_str().into()),
            "{asker}"
        );
    }
    for variable in of_kind("query") {
        assert_eq!(
            variable["query"]["query"], variable["definition"],
            "{variable}"
        );
        assert!(!text(&variable["query"], "refId").is_empty());
    }
    // Each variable that an expression names is there, or Grafana's own.
    let mut used = BTreeSet::new();
    for panel in list(&dashboard, "panels") {
        for target in list(panel, "targets") {
            let expression = text(target, "expr");
            for name in expression.split('$').skip(1) {
                let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let name = &name[..end.unwrap_or(name.len())];
                assert!(
                    names.contains(name) || name == "__rate_interval",
                    "{name} in {expression}"
                );
                used.insert(name.to_owned());
            }
        }
    }
    assert!(used.contains("instance"), "the servers can be chosen");
}

#[test]
fn its_panels_stand_side_by_side() {
    let dashboard = dashboard();
    let panels = list(&dashboard, "panels");
    let mut taken = BTreeSet::new();
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let id = panel["id"].as_u64().expect("a number");
        assert!(id > 0 && ids.insert(id), "{id} is another's");
        let title = text(panel, "title");
        assert!(
            !title.is_empty() && titles.insert(title),
            "{title} is another's"
        );
        assert_eq!(panel["type"], "timeseries", "{title}");
        let place = |name: &str| panel["gridPos"][name].as_u64().expect("a place");
        let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
        assert!(w > 0 && h > 0 && x + w <= COLUMNS, "{title}");
        for row in y..y + h {
            for column in x..x + w {
                assert!(taken.insert((row, column)), "{title} is above another");
            }
        }
        list(&panel["fieldConfig"], "overrides");
        assert!(panel["options"].is_object(), "{title}");
        let targets = list(panel, "targets");
        let letters: BTreeSet<&str> = targets.iter().map(|target| text(target, "refId")).collect();
        assert!(
            !targets.is_empty() && letters.len() == targets.len(),
            "{title}"
        );
        let legends: BTreeSet<&str> = targets.iter().map(|t| text(t, "legendFormat")).collect();
        assert!(
            legends.len() == targets.len() && !legends.contains(""),
            "{title}"
        );
    }
    // No hole, into which Grafana would move what stands below.
    let rows = taken.iter().map(|(row, _)| row + 1).max().expect("panels");
    let last = panels.last().expect("panels")["gridPos"]["y"].as_u64();
    let full = (0..last.expect("a place"))
        .all(|row| (0..COLUMNS).all(|column| taken.contains(&(row, column))));
    assert!(full && rows > 0, "there is a hole");
}

#[test]
fn its_units_are_those_of_its_figures() {
    let dashboard = dashboard();
    for panel in list(&dashboard, "panels") {
        let title = text(panel, "title");
        let unit = text(&panel["fieldConfig"]["defaults"], "unit");
        assert!(UNITS.contains(&unit), "{title}: {unit}");
        for target in list(panel, "targets") {
            let expression = text(target, "expr");
            // Names end with the base unit, counters with `_total` after it.
            let rate = expression.contains("rate(");
            let expected: &[&str] = match expression {
                e if e.contains("_seconds_bucket") => &["s"],
                e if e.contains("cpu_seconds_total") => &["percentunit"],
                e if e.contains("_bytes_total") => &["Bps"],
                e if e.contains("_bytes{") => &["bytes"],
                // Beside what is counted at the moment, a rate is named in the legend.
                _ if rate => match text(target, "legendFormat").ends_with("a second") {
                    true => &["short"],
                    false => &["ops"],
                },
                _ => &["short"],
            };
            assert!(expected.contains(&unit), "{title}: {unit} of {expression}");
            let counter = expression.contains("_total{") || expression.contains("_bucket{");
            let over_time = rate || expression.contains("increase(");
            assert_eq!(counter, over_time, "{title}: {expression}");
        }
    }
}
