//! A headless Chromium, driven over WebDriver.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{Process, free_port};
use super::settings::READY;
use super::{Connection, Request, eventually};

/// A page shows what it was made to show within this.
const SHOWN: Duration = Duration::from_secs(15);

/// One browser with a profile of its own; its windows share nothing with those of another.
pub struct Browser {
    pub client: Client,
    driver: Process,
    _profile: TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let profile = tempfile::Builder::new().prefix("lastseat-browser-").tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new("chromedriver");
        // A group of its own, with the browser in it.
        command.arg(format!("--port={port}")).stdin(Stdio::null()).process_group(0);
        let driver = Process::spawn(command, &profile.path().join("driver.log"));
        let addr = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        eventually("chromedriver answers", READY, || async {
            let answer = Connection::to(addr).send(&Request::get("/status")).await;
            answer.map(drop).map_err(|lost| format!("{lost:?}"))
        })
        .await;
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ];
        let own = format!("--user-data-dir={}", profile.path().join("profile").display());
        let arguments: Vec<&str> = arguments.into_iter().chain([own.as_str()]).collect();
        let wanted = json!({ "goog:chromeOptions": { "args": arguments } });
        let wanted = wanted.as_object().unwrap().clone();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a session of chromedriver");
        Self { client, driver, _profile: profile }
    }

    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// What a script returns in the page.
    pub async fn eval(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap_or_else(|e| panic!("{script}: {e}"))
    }

    /// Waits until this JavaScript expression is true in the page.
    pub async fn until(&self, expression: &str) {
        eventually(expression, SHOWN, || async {
            match self.client.execute(&format!("return !!({expression})"), Vec::new()).await {
                Ok(Value::Bool(true)) => Ok(()),
                Ok(_) => Err("not yet; the page says: ".to_owned() + &self.text("body").await),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// Clicks what has this `data-test`, once it is there and takes clicks.
    pub async fn click(&self, name: &str) {
        let css = format!("[data-test={name}]");
        self.click_css(&css).await;
    }

    pub async fn click_css(&self, css: &str) {
        eventually(&format!("{css} can be clicked"), SHOWN, || async {
            let found = self.client.find(Locator::Css(css)).await.map_err(|e| e.to_string())?;
            found.click().await.map_err(|e| e.to_string())
        })
        .await;
    }

    /// The text of the first element that fits, as it is in the document; empty if there is none.
    pub async fn text(&self, css: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.textContent ?? ''";
        let text = self.client.execute(script, vec![json!(css)]).await.unwrap_or_default();
        text.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub async fn close(self) {
        // What is left of it is ended by the drop that follows.
        let _ = self.client.clone().close().await;
    }
}

impl Drop for Browser {
    /// Also when a story fails: the driver alone would leave its browser behind.
    fn drop(&mut self) {
        let group = i32::try_from(self.driver.pid()).ok().and_then(Pid::from_raw);
        // Fails only when all of it has ended already.
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    }
}
