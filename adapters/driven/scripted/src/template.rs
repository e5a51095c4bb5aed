//! Templates: compiled once, so that a wrong one is found before any run needs it.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value;

/// A text that may depend on the conversation.
#[derive(Clone, Debug)]
pub(crate) enum Template {
    /// It does not.
    Constant(String),
    /// One expression and nothing else: it keeps its type. By its name in [`Templates`], with its text.
    Expression { name: String, text: String },
    /// Text with expressions in it, by its name in [`Templates`].
    Text { name: String, text: String },
}

/// What templates see of a conversation.
const NAMES: [&str; 5] = ["input", "results", "last", "turn", "iteration"];

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
        self.count = self.count.saturating_add(1);
        let name = format!("template {}", self.count);
        let (template, source) = match only_expression(&text) {
            // An expression cannot be kept compiled beside its environment; a template that sets a variable can.
            Some(expression) => {
                self.environment
                    .compile_expression(expression)
                    .map_err(|error| words(&error))?;
                let source = format!("{{% set value = ({expression}) %}}");
                (
                    Template::Expression {
                        name: name.clone(),
                        text: expression.to_owned(),
                    },
                    source,
                )
            }
            None => (
                Template::Text {
                    name: name.clone(),
                    text: text.clone(),
                },
                text,
            ),
        };
        self.environment
            .add_template_owned(name.clone(), source)
            .map_err(|error| words(&error))?;
        self.check_names(&name)?;
        Ok(template)
    }

    /// A name that nothing gives is a slip that need not wait for a run.
    fn check_names(&self, template: &str) -> Result<(), String> {
        let template = self
            .environment
            .get_template(template)
            .map_err(|error| words(&error))?;
        let mut unknown: Vec<_> = template.undeclared_variables(false).into_iter().collect();
        unknown.retain(|name| {
            !NAMES.contains(&name.as_str())
                && !self
                    .environment
                    .globals()
                    .any(|(global, _value)| global == name)
        });
        unknown.sort_unstable();
        match unknown.first() {
            Some(name) => Err(format!(
                "there is no `{name}`; there are {}",
                NAMES.join(", ")
            )),
            None => Ok(()),
        }
    }

    /// The template's value for `context`; a text unless the template is one expression.
    ///
    /// What is wrong with a value is not repeated, only where: values come from the conversation.
    pub(crate) fn value(
        &self,
        template: &Template,
        context: &minijinja::Value,
    ) -> Result<Value, String> {
        let failed = |text: &str, why: &dyn std::fmt::Display| format!("{text:?}: {why}");
        match template {
            Template::Constant(text) => Ok(Value::String(text.clone())),
            Template::Expression { name, text } => {
                let value = self
                    .environment
                    .get_template(name)
                    .and_then(|template| template.render_captured(context))
                    .map(|captured| captured.state().lookup("value"))
                    .map_err(|error| failed(text, &error.kind()))?;
                let value = value.filter(|value| !value.is_undefined());
                let value = value.ok_or_else(|| failed(text, &"undefined value"))?;
                serde_json::to_value(value)
                    .map_err(|_error| failed(text, &"the value is none that JSON has"))
            }
            Template::Text { name, text } => self
                .environment
                .get_template(name)
                .and_then(|template| template.render(context))
                .map(Value::String)
                .map_err(|error| failed(text, &error.kind())),
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
