//! Has whoever sits at the terminal answer a question of a server.

use seaworthy::ports::model_provider::Role;
use seaworthy::servers::{Question, Reply, Wants};
use serde_json::{Map, Value};

use crate::error::CliError;
use crate::output::{Output, Paint, clean, say};
use crate::stop::Stop;
use crate::typed::{Typed, typed};

/// What was typed where a field was asked for.
enum Field {
    Value(Value),
    /// Nothing: it is left out.
    Nothing,
    /// Not now.
    Later,
}

/// Asks. `None`: not now.
pub(crate) async fn ask(
    output: Output,
    tool: &str,
    question: &Question,
    stop: &Stop,
) -> Result<Option<Reply>, CliError> {
    let who = format!("{} ({})", clean(tool), question.server);
    match &question.wants {
        Wants::Input { message, schema } => {
            output.note(&format!(
                "\n{} {who}\n{}",
                output.paint(Paint::Attention, "Asked by"),
                clean(message)
            ));
            loop {
                match choice(
                    "[a]nswer, [d]ecline, [q]uit and answer later: ",
                    "adq",
                    stop,
                )
                .await?
                {
                    Some('a') => {}
                    Some('d') => return Ok(Some(Reply::Declined)),
                    _ => return Ok(None),
                }
                let Some(content) = fill(output, schema, stop).await? else {
                    return Ok(None);
                };
                let reply = Reply::Given { content };
                match question.check(&reply) {
                    Ok(()) => return Ok(Some(reply)),
                    Err(fault) => output.note(&clean(&fault.to_string())),
                }
            }
        }
        Wants::Model {
            instructions,
            messages,
            max_tokens,
        } => {
            output.note(&format!(
                "\n{} {who}: it wants your model called, for at most {max_tokens} tokens",
                output.paint(Paint::Attention, "Asked by"),
            ));
            if let Some(instructions) = instructions {
                output.note(&format!("instructions: {}", clean(instructions)));
            }
            for said in messages {
                let who = match said.role {
                    Role::User => "user",
                    Role::Assistant => "assistant",
                };
                output.note(&format!("{who}: {}", clean(&said.text)));
            }
            let answer = choice("[y]es, [n]o, [q]uit and decide later: ", "ynq", stop).await?;
            Ok(match answer {
                Some('y') => Some(Reply::Granted),
                Some('n') => Some(Reply::Declined),
                _ => None,
            })
        }
    }
}

/// One of `letters`; `None` where there is nothing more to read.
async fn choice(prompt: &str, letters: &str, stop: &Stop) -> Result<Option<char>, CliError> {
    loop {
        say(prompt);
        let Typed::Line(line) = typed(stop).await? else {
            return Ok(None);
        };
        let typed = line.trim().to_ascii_lowercase();
        if let Some(letter) = typed.chars().next()
            && letters.contains(letter)
        {
            return Ok(Some(letter));
        }
    }
}

/// Asks for each field of `schema`. `None`: not now.
async fn fill(output: Output, schema: &Value, stop: &Stop) -> Result<Option<Value>, CliError> {
    let mut content = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, field) in properties.into_iter().flatten() {
        let is_required = schema
            .get("required")
            .and_then(Value::as_array)
            .is_some_and(|required| required.iter().any(|one| one == name));
        match ask_field(output, name, field, is_required, stop).await? {
            Field::Value(value) => {
                content.insert(name.clone(), value);
            }
            Field::Nothing => {}
            Field::Later => return Ok(None),
        }
    }
    Ok(Some(Value::Object(content)))
}

async fn ask_field(
    output: Output,
    name: &str,
    field: &Value,
    is_required: bool,
    stop: &Stop,
) -> Result<Field, CliError> {
    let said = |key: &str| field.get(key).and_then(Value::as_str);
    let mut about = Vec::new();
    about.extend(said("description").map(str::to_owned));
    about.extend(said("type").map(str::to_owned));
    if let Some(choices) = field.get("enum") {
        about.push(format!("one of {choices}"));
    }
    if let Some(usual) = field.get("default") {
        about.push(format!("unless typed: {usual}"));
    } else if !is_required {
        about.push("may be left out".to_owned());
    }
    let title = said("title").unwrap_or(name);
    loop {
        say(&clean(&format!("{title} ({}): ", about.join("; "))));
        let Typed::Line(line) = typed(stop).await? else {
            return Ok(Field::Later);
        };
        if line.is_empty() {
            match field.get("default") {
                Some(usual) => return Ok(Field::Value(usual.clone())),
                None if !is_required => return Ok(Field::Nothing),
                None => {}
            }
        }
        match read(&line, said("type")) {
            Some(value) => return Ok(Field::Value(value)),
            None => output.note("that is not of the type that is asked for"),
        }
    }
}

/// What was typed, as a value of this type.
fn read(line: &str, kind: Option<&str>) -> Option<Value> {
    let typed = line.trim();
    match kind {
        Some("boolean") => match typed.to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" => Some(Value::Bool(true)),
            "false" | "no" | "n" => Some(Value::Bool(false)),
            _ => None,
        },
        Some("integer") => typed.parse::<i64>().ok().map(Value::from),
        Some("number") => serde_json::from_str::<serde_json::Number>(typed)
            .ok()
            .map(Value::Number),
        Some("array" | "object") => serde_json::from_str(typed).ok(),
        _ => Some(Value::String(line.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_typed_becomes_a_value_of_the_type_that_is_asked_for() {
        assert_eq!(read("yes", Some("boolean")), Some(json!(true)));
        assert_eq!(read("maybe", Some("boolean")), None);
        assert_eq!(read(" 7", Some("integer")), Some(json!(7)));
        assert_eq!(read("7.5", Some("integer")), None);
        assert_eq!(read("7.5", Some("number")), Some(json!(7.5)));
        assert_eq!(read("[\"a\"]", Some("array")), Some(json!(["a"])));
        assert_eq!(
            read(" as it is ", Some("string")),
            Some(json!(" as it is "))
        );
        assert_eq!(read("7", None), Some(json!("7")));
    }
}
