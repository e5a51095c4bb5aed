//! A report for programs.

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::{REPORT_SCHEMA, Report};

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Report", 7)?;
        object.serialize_field("schema", &REPORT_SCHEMA)?;
        object.serialize_field("port", self.port)?;
        object.serialize_field("adapter", &self.adapter)?;
        object.serialize_field("level", &self.level())?;
        object.serialize_field("counts", &self.counts())?;
        object.serialize_field("clauses", &self.clauses())?;
        object.serialize_field("verdicts", &self.verdicts)?;
        object.end()
    }
}
