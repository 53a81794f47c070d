//! Properties of an object, taken out by name and type.

use std::collections::HashMap;
use std::fmt;
use zbus::{OwnedObjectPath, OwnedVariant};

/// The properties, or one dictionary among them.
#[derive(Debug, Default)]
pub struct Properties(pub HashMap<String, OwnedVariant>);

/// A property that has another type than the interface says.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake(String);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has another type than expected", self.0)
    }
}

impl Properties {
    /// The value, or that of nothing: a daemon of before may lack what this
    /// program knows.
    ///
    /// # Errors
    /// [`Mistake`]
    pub fn take<T: TryFrom<OwnedVariant> + Default>(&mut self, name: &str) -> Result<T, Mistake> {
        match self.0.remove(name) {
            Some(value) => T::try_from(value).map_err(|_| Mistake(name.to_owned())),
            None => Ok(T::default()),
        }
    }

    /// An empty text stands for nothing.
    ///
    /// # Errors
    /// [`Mistake`]
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Mistake> {
        let text: String = self.take(name)?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// A time; 0 stands for never.
    ///
    /// # Errors
    /// [`Mistake`]
    pub fn time(&mut self, name: &str) -> Result<Option<u64>, Mistake> {
        let time: u64 = self.take(name)?;
        Ok(Some(time).filter(|time| *time > 0))
    }

    /// An object; `/` stands for none.
    ///
    /// # Errors
    /// [`Mistake`]
    pub fn object(&mut self, name: &str) -> Result<Option<String>, Mistake> {
        let path: OwnedObjectPath = self.take(name)?;
        Ok(Some(path.to_string()).filter(|path| path != "/"))
    }

    /// Objects.
    ///
    /// # Errors
    /// [`Mistake`]
    pub fn objects(&mut self, name: &str) -> Result<Vec<String>, Mistake> {
        let paths: Vec<OwnedObjectPath> = self.take(name)?;
        Ok(paths.iter().map(ToString::to_string).collect())
    }

    /// Dictionaries.
    ///
    /// # Errors
    /// [`Mistake`]
    pub fn rows(&mut self, name: &str) -> Result<Vec<Properties>, Mistake> {
        let rows: Vec<HashMap<String, OwnedVariant>> = self.take(name)?;
        Ok(rows.into_iter().map(Properties).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::Variant;

    fn one(name: &str, value: Variant<'_>) -> Properties {
        let value = OwnedVariant::try_from(value).unwrap();
        Properties(HashMap::from([(name.to_owned(), value)]))
    }

    #[test]
    fn what_is_not_there_is_nothing_and_what_is_wrong_is_named() {
        assert_eq!(Properties::default().text("Name"), Ok(None));
        assert_eq!(
            one("Name", Variant::from("a")).text("Name"),
            Ok(Some("a".into()))
        );
        let mistake = one("Name", Variant::from(1u32)).text("Name").unwrap_err();
        assert_eq!(mistake.to_string(), "Name has another type than expected");
    }
}
