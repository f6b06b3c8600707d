//! Stories, and a random walk that checks what always holds.

mod data;
mod entering;
mod introductions;
mod random_walk;
mod show;
mod world;
