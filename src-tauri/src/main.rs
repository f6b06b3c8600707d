//! The desktop app: starts the engine, shows its dashboard in a window, ends both together. No logic lives here.
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use studio::{Studio, cli};
use tauri::{AppHandle, Manager, RunEvent, WebviewUrl, WebviewWindowBuilder};

fn main() -> ExitCode {
    let options = cli::Options::parse();
    cli::start_logging(&options);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("greenroom: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let started = options
        .config()
        .map_err(anyhow::Error::from)
        .and_then(|config| runtime.block_on(Studio::start(config)));
    let (page, studio, code) = match started {
        Ok(studio) => (studio.dashboard_url(), Some(studio), ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("greenroom: {error:#}");
            (trouble_page(&format!("{error:#}")), None, ExitCode::FAILURE)
        }
    };
    let running = Running { runtime, studio: Arc::new(Mutex::new(studio)) };
    match show(page, running) {
        Ok(()) => code,
        Err(error) => {
            eprintln!(
                "greenroom: cannot open a window: {error}\nStart `greenroomd` instead: it needs no window."
            );
            ExitCode::FAILURE
        }
    }
}

/// The engine behind the window; taken out once, when the app ends.
struct Running {
    runtime: tokio::runtime::Runtime,
    /// A lock because tauri's event callback is shared; held only to take the engine out.
    studio: Arc<Mutex<Option<Studio>>>,
}

impl Running {
    /// Says goodbye to everybody; the same whether the window closed or a signal came.
    fn shut_down(&self) {
        let taken = self.studio.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(studio) = taken {
            self.runtime.block_on(studio.shutdown(SHUTDOWN_DEADLINE));
        }
    }
}

fn show(page: String, running: Running) -> tauri::Result<()> {
    let app = tauri::Builder::default()
        .setup(move |app| {
            let url = page.parse().map(WebviewUrl::External)?;
            WebviewWindowBuilder::new(app, "main", url)
                .title("Greenroom")
                .inner_size(1200.0, 800.0)
                .min_inner_size(480.0, 400.0)
                .build()?;
            Ok(())
        })
        .build(tauri::generate_context!())?;
    close_on_signal(&running, app.handle().clone());
    app.run(move |_, event| {
        if let RunEvent::Exit = event {
            running.shut_down();
        }
    });
    Ok(())
}

/// Ctrl-C and SIGTERM close the window, and with it the engine; so does an engine that failed for good.
fn close_on_signal(running: &Running, app: AppHandle) {
    let studio = running.studio.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let gave_up = studio.as_ref().map(Studio::gave_up);
    running.runtime.spawn(async move {
        let gave_up = async {
            match gave_up {
                Some(gave_up) => gave_up.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cli::termination() => {}
            () = gave_up => {}
        }
        for window in app.webview_windows().into_values() {
            // A window that is already closing needs no second word.
            let _ = window.close();
        }
    });
}

/// What the window shows when the engine could not start: the reason, and nothing that runs.
fn trouble_page(reason: &str) -> String {
    let mut escaped = String::new();
    for byte in reason.bytes() {
        match byte {
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b' '
            | b'.'
            | b','
            | b':'
            | b';'
            | b'('
            | b')'
            | b'/'
            | b'-'
            | b'_' => escaped.push(byte as char),
            _ => escaped.push_str(&format!("&#{byte};")),
        }
    }
    let page = format!(
        "<!doctype html><meta charset=utf-8><title>Greenroom</title><body style='font:16px system-ui;margin:3em;max-width:40em'>\
         <h1>Greenroom could not start</h1><p>{escaped}</p><p>Mend what it names and start Greenroom again.</p>"
    );
    let encoded: String = page.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("data:text/html;charset=utf-8,{encoded}")
}

/// Guests get their goodbye and files their end within this time.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
