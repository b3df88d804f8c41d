//! How the doctor's steps are printed, and what they come to.

use serde_json::{Value, json};

use super::{
    fault::Severity,
    judge::{Finding, Verdict},
};
use crate::cli::{Failure, output::Printer};

/// Width of the first two columns.
const MARK_WIDTH: usize = 8;
const STEP_WIDTH: usize = 14;

/// Prints steps as they are done, and remembers what is wrong.
pub(super) struct Report {
    printer: Printer,
    wrong: Vec<&'static str>,
    warnings: Vec<&'static str>,
}

impl Report {
    pub(super) fn new(printer: Printer) -> Self {
        Self {
            printer,
            wrong: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Prints a step; returns whether nothing in it is wrong.
    ///
    /// # Errors
    /// When standard output takes no more.
    pub(super) fn step(&mut self, name: &str, verdict: &Verdict) -> Result<bool, Failure> {
        let findings = match verdict {
            Verdict::Found(findings) => findings.as_slice(),
            Verdict::Fine(_) | Verdict::Skipped(_) => &[],
        };
        let before = self.wrong.len();
        for finding in findings {
            let description = finding.fault.description();
            match description.severity {
                Severity::Wrong => self.wrong.push(description.name),
                Severity::Warning => self.warnings.push(description.name),
            }
        }
        self.printer
            .show(&as_json(name, verdict), &as_text(name, verdict))?;
        Ok(self.wrong.len() == before)
    }

    /// Prints the sum.
    ///
    /// # Errors
    /// When something is wrong, and when standard output takes no more.
    pub(super) fn end(self) -> Result<(), Failure> {
        let result = if self.wrong.is_empty() { "ok" } else { "wrong" };
        let json = json!({"result": result, "wrong": self.wrong, "warnings": self.warnings});
        let text = match (self.wrong.as_slice(), self.warnings.as_slice()) {
            ([], []) => "Nothing is wrong.".to_owned(),
            ([], warnings) => format!("Nothing is wrong; warnings: {}.", warnings.join(", ")),
            (wrong, _) => format!("Wrong: {}.", wrong.join(", ")),
        };
        self.printer.show(&json, &text)?;
        match self.wrong.len() {
            0 => Ok(()),
            1 => Err(Failure::Failed("1 fault was found".to_owned())),
            count => Err(Failure::Failed(format!("{count} faults were found"))),
        }
    }
}

fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Wrong => "WRONG",
        Severity::Warning => "warning",
    }
}

fn as_text(step: &str, verdict: &Verdict) -> String {
    let line = |mark: &str, text: &str| format!("{mark:MARK_WIDTH$}{step:STEP_WIDTH$}{text}");
    match verdict {
        Verdict::Fine(seen) => line("ok", seen),
        Verdict::Skipped(why) => line("-", why),
        Verdict::Found(findings) => {
            let findings = findings.iter().map(|Finding { fault, seen }| {
                let description = fault.description();
                let indent = " ".repeat(MARK_WIDTH + STEP_WIDTH);
                let mut text = line(mark(description.severity), description.meaning);
                text += &format!("\n{indent}seen: {seen}");
                for cure in description.cure {
                    text += &format!("\n{indent}mend: {cure}");
                }
                text
            });
            findings.collect::<Vec<_>>().join("\n")
        }
    }
}

fn as_json(step: &str, verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Fine(seen) => json!({"step": step, "result": "ok", "seen": seen}),
        Verdict::Skipped(why) => json!({"step": step, "result": "skipped", "why": why}),
        Verdict::Found(findings) => {
            let faults = findings.iter().map(|Finding { fault, seen }| {
                let description = fault.description();
                json!({
                    "fault": description.name,
                    "severity": mark(description.severity).to_lowercase(),
                    "meaning": description.meaning,
                    "seen": seen,
                    "mend": description.cure,
                })
            });
            json!({"step": step, "result": "found", "faults": faults.collect::<Vec<_>>()})
        }
    }
}
