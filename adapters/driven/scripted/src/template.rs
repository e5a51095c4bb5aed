//! Templates: compiled once, so that a wrong one is found before any run needs it.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value;

/// A text that may depend on the conversation.
#[derive(Clone, Debug)]
pub(crate) enum Template {
    /// It does not.
    Constant(String),
    /// One expression and nothing else: it keeps its type.
    Expression(String),
    /// Text with expressions in it, by its name in [`Templates`].
    Text(String),
}

/// All templates of a script.
#[derive(Debug)]
pub(crate) struct Templates {
    environment: Environment<'static>,
    count: usize,
}

impl Templates {
    pub(crate) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
            environment.set_syntax(syntax);
        }
        Self {
            environment,
            count: 0,
        }
    }

    pub(crate) fn compile(&mut self, text: String) -> Result<Template, String> {
        if !["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
            return Ok(Template::Constant(text));
        }
        if let Some(expression) = only_expression(&text) {
            self.environment
                .compile_expression(expression)
                .map_err(|error| words(&error))?;
            return Ok(Template::Expression(expression.to_owned()));
        }
        self.count = self.count.saturating_add(1);
        let name = format!("template {}", self.count);
        self.environment
            .add_template_owned(name.clone(), text)
            .map_err(|error| words(&error))?;
        Ok(Template::Text(name))
    }

    /// The template's value for `context`; a text unless the template is one expression.
    pub(crate) fn value(
        &self,
        template: &Template,
        context: &minijinja::Value,
    ) -> Result<Value, String> {
        match template {
            Template::Constant(text) => Ok(Value::String(text.clone())),
            Template::Expression(expression) => {
                let value = self
                    .environment
                    .compile_expression(expression)
                    .and_then(|expression| expression.eval(context))
                    .map_err(|error| words(&error))?;
                if value.is_undefined() {
                    return Err(format!("{expression} is undefined"));
                }
                serde_json::to_value(value).map_err(|error| error.to_string())
            }
            Template::Text(name) => self
                .environment
                .get_template(name)
                .and_then(|template| template.render(context))
                .map(Value::String)
                .map_err(|error| words(&error)),
        }
    }
}

/// The inside of `{{ … }}` where the whole text is one.
fn only_expression(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let more = inside.contains("{{") || inside.contains("}}") || inside.contains("{%");
    let trimmed = inside.trim_start_matches('-').trim_end_matches('-').trim();
    (!more && !trimmed.is_empty()).then_some(trimmed)
}

/// The error and what is under it, in one line.
fn words(error: &minijinja::Error) -> String {
    let mut words = error.to_string();
    let mut under = std::error::Error::source(error);
    while let Some(source) = under {
        words = format!("{words}: {source}");
        under = source.source();
    }
    words
}
