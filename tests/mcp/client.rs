//! A small client of MCP, which says exactly what it is told to say.

use serde_json::{Value, json};
use std::{ops::Deref, process::Command};
use support::{World, rpc};

/// A client with its server.
pub struct Client(rpc::Client);

impl Deref for Client {
    type Target = rpc::Client;

    fn deref(&self) -> &rpc::Client {
        &self.0
    }
}

impl Client {
    /// Starts a server and greets it.
    pub fn new(world: &World, capabilities: Value) -> Self {
        Self::of(&mut world.agentkernel(["mcp"]), capabilities)
    }

    /// The same with a server of another environment.
    pub fn of(server: &mut Command, capabilities: Value) -> Self {
        let client = Self::silent(server);
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"}});
        let answer = client.request("initialize", hello);
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
        client.notify("notifications/initialized", json!({}));
        client
    }

    /// Starts one and says nothing.
    pub fn silent(command: &mut Command) -> Self {
        Self(rpc::Client::new(command))
    }

    /// The result of a tool.
    #[track_caller]
    pub fn tool(&self, name: &str, arguments: Value) -> Value {
        let answer = self.request("tools/call", json!({"name": name, "arguments": arguments}));
        answer.get("result").unwrap_or_else(|| panic!("{name}: {answer}")).clone()
    }

    /// What a tool gives back when all is well.
    #[track_caller]
    pub fn done(&self, name: &str, arguments: Value) -> Value {
        let result = self.tool(name, arguments);
        assert_ne!(result["isError"], true, "{name}: {result}");
        // Whoever reads no structure reads the same.
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, result["structuredContent"], "{name}");
        text
    }

    /// What a tool says when it refuses.
    #[track_caller]
    pub fn refused(&self, name: &str, arguments: Value) -> String {
        let result = self.tool(name, arguments);
        assert_eq!(result["isError"], true, "{name}: {result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// Goes, as clients do, and waits for the server's end.
    pub fn leave(self) {
        self.0.leave();
    }
}
