//! A browser that looks at pages: Debian's Chromium without a screen, told what to do over a pipe.
//!
//! Spec: <https://chromedevtools.github.io/devtools-protocol/>.

use data_encoding::BASE64;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// What is drawn of a page, in pixels from its top.
const HEIGHT_MAX: f64 = 2600.0;

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// The window's width in pixels.
    pub width: u32,
    /// Whether its user prefers dark pages.
    pub is_dark: bool,
}

/// What was seen of a page.
#[derive(Debug)]
pub struct Seen {
    /// Its upper part, a PNG.
    pub picture: Vec<u8>,
    /// How wide it is in pixels: wider than the window is what has to be scrolled to the right.
    pub width: u64,
    /// What the browser complained about, as of what the page's own policy refuses.
    pub complaints: Vec<String>,
    /// What it asked for, the page itself first.
    pub asked: Vec<String>,
}

/// Where the keyboard is on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyboardFocus {
    /// The address of the page.
    pub page: String,
    /// The element: its name in HTML and its text, or the name of its field.
    pub element: String,
    /// Whether it is drawn that the keyboard is there, within the window.
    pub is_seen: bool,
}

/// Tells that, in the page's own words.
const FOCUS: &str = "(() => { const it = document.activeElement, style = getComputedStyle(it),
    box = it.getBoundingClientRect();
    return JSON.stringify({ page: location.href,
        element: it.localName + ' ' + (it.name || it.innerText || '').trim(),
        seen: style.outlineStyle != 'none' && parseFloat(style.outlineWidth) > 0 && box.width > 0
            && box.top >= 0 && box.bottom <= innerHeight }); })()";

/// The browser; it ends when it is dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
    asked: u64,
    _profile: TempDir,
}

impl Browser {
    /// Starts it, with a profile of its own.
    pub fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        // It hears on descriptor 3 and answers on 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh"])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (say, hear) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, say, hear: BufReader::new(hear), asked: 0, _profile: profile }
    }

    /// Opens the page at `url` in a window of its own, where no page runs a script: the target and its session.
    fn open(&mut self, url: &str, view: View, heard: &mut Vec<Value>) -> (Value, String) {
        let View { width, is_dark } = view;
        let target = self.ask(None, "Target.createTarget", json!({"url": "about:blank"}), heard);
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.ask(None, "Target.attachToTarget", target.clone(), heard);
        let session = session["sessionId"].as_str().unwrap().to_owned();
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        let screen =
            json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600});
        for (method, parameters) in [
            ("Log.enable", json!({})),
            ("Network.enable", json!({})),
            ("Page.enable", json!({})),
            ("Emulation.setScriptExecutionDisabled", json!({"value": true})),
            ("Emulation.setDeviceMetricsOverride", screen),
            ("Emulation.setEmulatedMedia", json!({"features": features})),
            ("Page.navigate", json!({"url": url})),
        ] {
            self.ask(Some(&session), method, parameters, heard);
        }
        self.loaded(heard, 1);
        (target, session)
    }

    /// Waits until so many pages were loaded.
    fn loaded(&mut self, heard: &mut Vec<Value>, count: usize) {
        let is_it = |event: &&Value| event["method"] == "Page.loadEventFired";
        while heard.iter().filter(is_it).count() < count {
            let event = self.hear();
            heard.push(event);
        }
    }

    /// Presses these keys on the page at `url`, one after the other: `Tab`, `Enter`, which leads to another page,
    /// or a text. Tells where the keyboard is after each.
    pub fn press(&mut self, url: &str, view: View, keys: &[&str]) -> Vec<KeyboardFocus> {
        let mut heard = Vec::new();
        let (target, session) = self.open(url, view, &mut heard);
        let session = Some(session.as_str());
        let mut pages = 1;
        let mut told = Vec::new();
        for key in keys {
            let pressed = |code: u32, text: &str| json!({"type": "keyDown", "key": key, "code": key, "text": text, "windowsVirtualKeyCode": code});
            let (method, what) = match *key {
                "Tab" => ("Input.dispatchKeyEvent", pressed(9, "")),
                "Enter" => ("Input.dispatchKeyEvent", pressed(13, "\r")),
                text => ("Input.insertText", json!({"text": text})),
            };
            self.ask(session, method, what, &mut heard);
            if *key == "Enter" {
                pages += 1;
                self.loaded(&mut heard, pages);
            }
            let asked = json!({"expression": FOCUS, "returnByValue": true});
            let focus = self.ask(session, "Runtime.evaluate", asked, &mut heard);
            let focus: Value =
                serde_json::from_str(focus["result"]["value"].as_str().unwrap()).unwrap();
            told.push(KeyboardFocus {
                page: focus["page"].as_str().unwrap().to_owned(),
                element: focus["element"].as_str().unwrap().to_owned(),
                is_seen: focus["seen"] == true,
            });
        }
        self.ask(None, "Target.closeTarget", target, &mut heard);
        told
    }

    /// Looks at the page at `url`.
    pub fn look(&mut self, url: &str, view: View) -> Seen {
        let mut heard = Vec::new();
        let width = view.width;
        let (target, session) = self.open(url, view, &mut heard);
        let size = self.ask(Some(&session), "Page.getLayoutMetrics", json!({}), &mut heard);
        let size = size["cssContentSize"].clone();
        let height = size["height"].as_f64().unwrap().min(HEIGHT_MAX);
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let all = json!({"captureBeyondViewport": true, "clip": clip});
        let drawn = self.ask(Some(&session), "Page.captureScreenshot", all, &mut heard);
        self.ask(None, "Target.closeTarget", target, &mut heard);
        let of = |method: &'static str| heard.iter().filter(move |event| event["method"] == method);
        let complaints = of("Log.entryAdded");
        let asked = of("Network.requestWillBeSent");
        Seen {
            picture: BASE64.decode(drawn["data"].as_str().unwrap().as_bytes()).unwrap(),
            width: size["width"].as_f64().unwrap() as u64,
            complaints: complaints
                .map(|event| event["params"]["entry"]["text"].to_string())
                .collect(),
            asked: asked.map(|event| event["params"]["request"]["url"].to_string()).collect(),
        }
    }

    /// Says one thing and waits for its answer; what happens meanwhile is heard.
    fn ask(
        &mut self,
        session: Option<&str>,
        method: &str,
        parameters: Value,
        heard: &mut Vec<Value>,
    ) -> Value {
        self.asked += 1;
        let mut said = json!({"id": self.asked, "method": method, "params": parameters});
        if let Some(session) = session {
            said["sessionId"] = session.into();
        }
        self.say.write_all(format!("{said}\0").as_bytes()).unwrap();
        loop {
            let mut answer = self.hear();
            if answer["id"] == self.asked {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
            heard.push(answer);
        }
    }

    fn hear(&mut self) -> Value {
        let mut message = Vec::new();
        self.hear.read_until(0, &mut message).unwrap();
        assert_eq!(message.pop(), Some(0), "the browser ended: is chromium installed?");
        serde_json::from_slice(&message).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
