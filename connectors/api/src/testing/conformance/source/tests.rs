//! The scripted source passes its own suite.

use arrow::datatypes::DataType;

use super::*;
use crate::testing::database::{Database as Model, Kind, Value, Writer, column};
use crate::testing::source::ScriptedSource;
use crate::testing::trace::Trace;
use crate::{Error, Identity, TableId};

struct Scripted {
    model: Model,
    source: ScriptedSource,
    trace: Trace,
}

impl Scripted {
    fn new(seed: u64) -> Self {
        let (model, trace) = (Model::new(), Trace::new());
        Self {
            source: ScriptedSource::new(&model, seed, &trace),
            model,
            trace,
        }
    }

    fn id(&self, writer: &Writer, name: &TableName) -> Result<TableId> {
        let mut tables = writer.state().tables.iter();
        tables
            .find(|(_, table)| table.schema.name == *name)
            .map(|(id, _)| *id)
            .ok_or_else(|| Error::data("there is no such table"))
    }

    fn run(&self, writer: &mut Writer, action: &Action) -> Result<()> {
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        let number = |n: &Option<i32>| n.map_or(Value::Null, |n| Value::Int(n.into()));
        let mut change = |name: &TableName, id: i64, change: &dyn Fn(&mut Vec<Value>)| {
            let table = self.id(writer, name)?;
            let place = writer.table(table).keys.get(&vec![Value::Int(id)]).copied();
            let place = place.ok_or_else(|| Error::data("there is no such row"))?;
            let mut row = writer.table(table).rows[&place].to_vec();
            change(&mut row);
            writer.update(table, place, row);
            Ok(())
        };
        match action {
            Action::Create(name) => {
                let columns = vec![
                    (column(1, "id", DataType::Int64), Kind::Key),
                    (column(2, "body", DataType::Utf8), Kind::Large),
                    (column(3, "qty", DataType::Int32), Kind::Plain),
                ];
                writer.create(name.clone(), columns, vec![0], Identity::Key);
            }
            Action::Insert(name, id, body, qty) => {
                let table = self.id(writer, name)?;
                let mut row = vec![Value::Int(*id), text(body), number(qty)];
                // Columns added since have their default.
                let columns = &writer.table(table).schema.columns;
                row.extend(columns[3..].iter().map(|_| Value::Int(42)));
                writer.insert(table, row);
            }
            Action::SetQty(name, id, qty) => change(name, *id, &|row| row[2] = number(qty))?,
            Action::SetBody(name, id, body) => change(name, *id, &|row| row[1] = text(body))?,
            Action::SetId(name, from, to) => change(name, *from, &|row| row[0] = Value::Int(*to))?,
            Action::Delete(name, id) => {
                let table = self.id(writer, name)?;
                if let Some(place) = writer
                    .table(table)
                    .keys
                    .get(&vec![Value::Int(*id)])
                    .copied()
                {
                    writer.delete(table, place);
                }
            }
            Action::Truncate(names) => {
                let tables: Result<Vec<TableId>> =
                    names.iter().map(|name| self.id(writer, name)).collect();
                writer.truncate(&tables?);
            }
            Action::AddColumn(name, added, value) => {
                let table = self.id(writer, name)?;
                writer.add_column(table, added, DataType::Int32, Value::Int((*value).into()));
            }
        }
        Ok(())
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.trace.violations(), Vec::<String>::new());
        }
    }
}

#[async_trait]
impl Database for Scripted {
    fn schema(&self) -> String {
        "shop".to_owned()
    }

    fn source(&mut self) -> Arc<dyn Source> {
        Arc::new(self.source.clone())
    }

    async fn commit(&mut self, actions: &[Action]) -> Result<()> {
        let mut writer = self.model.begin();
        for action in actions {
            self.run(&mut writer, action)?;
        }
        writer.commit();
        Ok(())
    }

    async fn roll_back(&mut self, actions: &[Action]) -> Result<()> {
        let mut writer = self.model.begin();
        for action in actions {
            self.run(&mut writer, action)?;
        }
        Ok(())
    }
}

mod cut_by_key {
    crate::source_conformance!(async || super::Scripted::new(2));
}

mod cut_by_place {
    crate::source_conformance!(async || super::Scripted::new(3));
}
