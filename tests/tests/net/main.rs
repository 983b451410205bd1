//! What programs ask the network: sockets, routes, neighbours. The kernel answers in a namespace that is made for it.
#![cfg(target_os = "linux")]

mod netfilter;
mod routes;
mod scene;
mod sock_maps;
mod sockets;
