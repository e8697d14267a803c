//! (Bundle, Observed) -> Plan: each step with its reason. Pure.

mod asked;
pub mod bookkeeping;
pub mod certificate;
pub mod change;
pub mod compare;
pub mod definitions;
pub mod difference;
pub mod drift;
pub mod frozen;
pub mod inventory;
mod limit;
mod masked_text;
pub mod model;
mod moved;
mod needs;
pub mod release;
pub mod reversal;
pub mod untouched;

pub use asked::asked;
pub use bookkeeping::Bookkeeping;
pub use change::{ReleaseChange, release_change};
pub use compare::{plan, plan_within};
pub use drift::Drifted;
pub use frozen::{ClusterIdentity, Frozen};
pub use inventory::{Inventory, InventoryObject, InventoryRelease};
pub use limit::limit;
pub use masked_text::masked_lines;
pub use model::{Action, Observed, ObservedRelease, Plan, Reason, Step, StoredRelease, Target};
pub use moved::{Outline, moved};
pub use needs::narrow;

impl Plan {
    /// True when nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// One line such as `plan: 3 to create, 1 to update, 0 to delete, 12 unchanged`.
    pub fn summary(&self) -> String {
        let count = |action: Action| self.steps.iter().filter(|step| step.action == action).count();
        format!(
            "{} to create, {} to update, {} to delete, {} unchanged",
            count(Action::Create),
            count(Action::Update),
            count(Action::Delete),
            self.unchanged.len()
        )
    }
}
