//! `GET /api/openapi.json`: written by the same list that makes the routes, from the types that are on the wire.

use crate::backend::Backend;
use crate::server::App;
use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};
use wire::Failure;

/// Routes, and what is said of each; there is no way to add one without the other.
pub(crate) struct Routes<B> {
    router: Router<App<B>>,
    document: Document,
}

impl<B: Backend> Routes<B> {
    pub fn new(document: Document) -> Self {
        Self { router: Router::new(), document }
    }

    pub fn on<H, T>(mut self, method: Method, path: &'static str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, App<B>>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("a method of HTTP itself");
        self.router = self.router.route(path, on(filter, handler));
        self.document.add(&method, path, operation);
        self
    }

    pub fn finish(self) -> (Router<App<B>>, Document) {
        (self.router, self.document)
    }
}

/// What is said of one route.
pub(crate) struct Operation {
    summary: &'static str,
    access: Access,
    status: u16,
    body: Option<MakeSchema>,
    answer: Option<MakeSchema>,
    query: Option<MakeSchema>,
    /// The answer is no JSON but this.
    media_type: Option<&'static str>,
}

type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Anyone,
    /// Anyone on this machine, or the owner.
    Reader,
    Owner,
}

impl Operation {
    /// Needs the owner's token; answers an empty object.
    pub fn owner(summary: &'static str) -> Self {
        Self {
            summary,
            access: Access::Owner,
            status: 200,
            body: None,
            answer: None,
            query: None,
            media_type: None,
        }
    }

    pub fn reader(summary: &'static str) -> Self {
        Self { access: Access::Reader, ..Self::owner(summary) }
    }

    pub fn anyone(summary: &'static str) -> Self {
        Self { access: Access::Anyone, ..Self::owner(summary) }
    }

    pub fn takes<T: JsonSchema>(self) -> Self {
        Self { body: Some(|schemas| schemas.subschema_for::<T>()), ..self }
    }

    pub fn answers_text(self, media_type: &'static str) -> Self {
        Self { media_type: Some(media_type), ..self }
    }

    pub fn asks<T: JsonSchema>(self) -> Self {
        Self { query: Some(|schemas| schemas.root_schema_for::<T>()), ..self }
    }

    pub fn answers<T: JsonSchema>(self, status: u16) -> Self {
        Self { status, answer: Some(|schemas| schemas.subschema_for::<T>()), ..self }
    }
}

/// An OpenAPI 3.1 document in the making.
pub(crate) struct Document {
    schemas: SchemaGenerator,
    paths: Map<String, Value>,
}

impl Document {
    pub fn new() -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        Self { schemas: settings.into_generator(), paths: Map::new() }
    }

    /// A route that another module serves.
    pub fn add(&mut self, method: &Method, path: &str, operation: Operation) {
        let described = self.describe(path, operation);
        let item = self.paths.entry(path.to_owned()).or_insert_with(|| json!({}));
        item[method.as_str().to_ascii_lowercase()] = described;
    }

    fn describe(&mut self, path: &str, operation: Operation) -> Value {
        let failure = self.schemas.subschema_for::<Failure>();
        let answer = match operation.answer {
            Some(make) => make(&mut self.schemas).to_value(),
            None => json!({ "type": "object" }),
        };
        let content = match operation.media_type {
            Some(media_type) => json!({ media_type: { "schema": { "type": "string" } } }),
            None => as_json(answer),
        };
        let mut parameters: Vec<Value> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        if let Some(make) = operation.query {
            let asked = make(&mut self.schemas).to_value();
            let fields = asked["properties"].as_object().cloned().unwrap_or_default();
            parameters.extend(
                fields
                    .into_iter()
                    .map(|(name, schema)| json!({ "name": name, "in": "query", "schema": schema })),
            );
        }
        let mut described = json!({
            "summary": operation.summary,
            "parameters": parameters,
            "responses": {
                operation.status.to_string(): { "description": "Done.", "content": content },
                "default": { "description": "Refused.", "content": as_json(failure.to_value()) },
            },
            "security": match operation.access {
                Access::Anyone => json!([]),
                Access::Reader => json!([{}, { "owner": [] }]),
                Access::Owner => json!([{ "owner": [] }]),
            },
        });
        if let Some(make) = operation.body {
            described["requestBody"] = json!({ "content": as_json(make(&mut self.schemas).to_value()) });
        }
        described
    }

    pub fn finish(mut self) -> Value {
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Greenroom",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Rooms, invites and the host's hand. Socket.IO and the WebSockets are described in docs/signaling.md.",
            },
            "paths": self.paths,
            "components": {
                "schemas": self.schemas.take_definitions(true),
                "securitySchemes": { "owner": { "type": "http", "scheme": "bearer" } },
            },
        })
    }
}

fn as_json(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}
