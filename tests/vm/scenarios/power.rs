//! A target that loses power.

use super::lab::{Lab, run};
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

fn script(step: &str) -> String {
    run("/rig/power-loss.sh", &[step])
}

/// The lab with a LUN of its own in the place of the map's, until this is
/// dropped.
pub struct OnOwnLun<'a> {
    lab: &'a mut Lab,
    before: HashMap<String, String>,
}

impl<'a> OnOwnLun<'a> {
    pub fn new(lab: &'a mut Lab) -> Self {
        let before = lab.replace(&script("make"));
        OnOwnLun { lab, before }
    }
}

/// That LUN is away for a moment, and with it all that was registered.
pub fn lose_power(lab: &mut Lab) {
    script("lose");
    lab.name_disks();
}

impl Drop for OnOwnLun<'_> {
    fn drop(&mut self) {
        self.lab.restore(std::mem::take(&mut self.before));
        script("remove");
    }
}

impl Deref for OnOwnLun<'_> {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        self.lab
    }
}

impl DerefMut for OnOwnLun<'_> {
    fn deref_mut(&mut self) -> &mut Lab {
        self.lab
    }
}
