//! Stories, and a random walk that checks what always holds.

mod data;
mod entering;
mod idle;
mod introductions;
mod news;
mod permission;
mod random_walk;
mod show;
mod tokens;
mod world;
