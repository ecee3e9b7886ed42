//! The description of the API, made from the table of routes and the shapes of the answers.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::routes::{self, Answer, Ask, JSON, Route};
use super::shapes::Failed;

/// Answers with the document.
pub(super) fn document(ask: &Ask<'_>) -> Answer {
    let mut document = describe();
    if !ask.api.prefix.is_empty() {
        document["servers"] = json!([{ "url": ask.api.prefix }]);
    }
    Answer::ok(&document)
}

/// OpenAPI 3.1, whose schemas are those of JSON Schema 2020-12.
fn describe() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.for_serialize().into_generator();
    let failed = generator.subschema_for::<Failed>();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes::table() {
        let operation = operation(route, &mut generator, failed.as_value());
        let entry = paths
            .entry(route.path.to_owned())
            .or_insert_with(|| json!({}));
        if let Some(entry) = entry.as_object_mut() {
            entry.insert(route.method.as_str().to_ascii_lowercase(), operation);
        }
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "pingora-live",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What runs in a pingora-live server, and how to change it. Answers with another status than 200 hold the reason. What changes something is refused to web pages of other origins.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{}, { "password": [] }, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "password": { "type": "http", "scheme": "basic" },
                "token": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator, failed: &Value) -> Value {
    let mut parameters = Vec::new();
    if route.path.contains("{id}") {
        parameters.push(json!({
            "name": "id",
            "in": "path",
            "required": true,
            "schema": { "type": "string", "minLength": 1 },
        }));
    }
    for parameter in route.parameters {
        let schema = if parameter.is_number {
            json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
        } else {
            json!({ "type": "string" })
        };
        parameters.push(json!({
            "name": parameter.name,
            "in": "query",
            "description": parameter.about,
            "schema": schema,
        }));
    }
    let content = match (route.shape, route.path) {
        (Some(shape), _) => json!({ JSON: { "schema": shape(generator) } }),
        (None, routes::DESCRIPTION) => json!({ JSON: { "schema": { "type": "object" } } }),
        (None, _) => json!({ "text/plain": { "schema": { "type": "string" } } }),
    };
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({ "description": "Done.", "content": content }),
    );
    let mut statuses = route.statuses.to_vec();
    if !routes::is_open(route.path) {
        // Without credentials, and by a name or a page that may not.
        statuses.extend([401, 403]);
    }
    for status in statuses {
        let reason = http::StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Failed");
        let schema = match (status, route.shape) {
            // It says why in its own shape.
            (503, Some(shape)) if routes::is_open(route.path) => shape(generator).to_value(),
            _ => failed.clone(),
        };
        responses.insert(
            status.to_string(),
            json!({ "description": reason, "content": { JSON: { "schema": schema } } }),
        );
    }
    let name = format!(
        "{} {}",
        route.method.as_str().to_ascii_lowercase(),
        route.path
    );
    let operation_id: String = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty() && !matches!(*word, "api" | "v1"))
        .collect::<Vec<_>>()
        .join("_");
    let mut operation = json!({
        "operationId": operation_id,
        "summary": route.about,
        "parameters": parameters,
        "responses": responses,
    });
    if routes::is_open(route.path) {
        operation["security"] = json!([]);
    }
    if let Some(body) = route.body {
        operation["requestBody"] = json!({
            "required": true,
            "content": { JSON: { "schema": body(generator) } },
        });
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let document = describe();
        for route in routes::table() {
            let method = route.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][route.path][method];
            assert!(operation["summary"].is_string(), "{}", route.path);
        }
        let text = document.to_string();
        for (at, _) in text.match_indices("#/components/schemas/") {
            let name: String = text[at + 21..].chars().take_while(|c| *c != '"').collect();
            assert!(
                document["components"]["schemas"][&name].is_object(),
                "{name} is not described"
            );
        }
    }
}
