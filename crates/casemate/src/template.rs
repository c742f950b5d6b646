//! `--format`: the part of Go's templates that people type. Text, fields
//! (`{{.State.Status}}`) and fields as JSON (`{{json .State}}`).

use serde_json::Value;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("template parsing error: unclosed action in {0:?}")]
    Unclosed(String),
    #[error("template parsing error: {{{{{0}}}}}: only fields ('{{{{.State.Status}}}}') and json are known here")]
    Unknown(String),
    #[error("template: no field {field} in {action}")]
    NoField { field: String, action: String },
}

pub(crate) fn render(template: &str, value: &Value) -> Result<String, TemplateError> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        out.push_str(&rest[..start]);
        let action = &rest[start + 2..];
        let end = action.find("}}").ok_or_else(|| TemplateError::Unclosed(template.to_owned()))?;
        out.push_str(&evaluate(action[..end].trim(), value)?);
        rest = &action[end + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

fn evaluate(action: &str, value: &Value) -> Result<String, TemplateError> {
    let (path, as_json) = match action.strip_prefix("json ") {
        Some(path) => (path.trim(), true),
        None => (action, false),
    };
    let fields = path.strip_prefix('.').ok_or_else(|| TemplateError::Unknown(action.to_owned()))?;
    let mut value = value;
    for field in fields.split('.').filter(|field| !field.is_empty()) {
        value = value
            .get(field)
            .ok_or_else(|| TemplateError::NoField { field: field.to_owned(), action: action.to_owned() })?;
    }
    Ok(match value {
        Value::String(text) if !as_json => text.clone(),
        Value::Null if !as_json => "<nil>".to_owned(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_json() {
        let value = serde_json::json!({"State": {"Status": "running", "Pid": 7}});
        assert_eq!(render("{{.State.Status}} {{ .State.Pid }}!", &value).unwrap(), "running 7!");
        assert_eq!(render("{{json .State.Status}}", &value).unwrap(), "\"running\"");
        assert!(matches!(render("{{.Nope}}", &value), Err(TemplateError::NoField { .. })));
        assert!(matches!(render("{{range .X}}", &value), Err(TemplateError::Unknown(_))));
        assert!(matches!(render("{{.X", &value), Err(TemplateError::Unclosed(_))));
    }
}
