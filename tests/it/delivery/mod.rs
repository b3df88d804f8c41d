//! What design.md §7 promises of delivery: order, isolation, and that a slow reader harms only itself.

mod order;
mod slow;
mod writes;
