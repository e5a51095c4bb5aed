//! SB-1: what is enforced, and what is refused.

use std::time::Duration;

use seaworthy_ports::sandbox::{
    Enforcement, ExitStatus, Isolation, Kind, Limits, Policy, SandboxSpec,
};

use super::Harness;
use super::world::{World, ran, sh};
use crate::outcome::{Halt, Outcome, holds, ok, refused, within};

const ISOLATIONS: [Isolation; 6] = [
    Isolation::None,
    Isolation::Process,
    Isolation::Namespace,
    Isolation::Wasm,
    Isolation::Container,
    Isolation::MicroVm,
];

const MEMORY: u64 = 128 * 1024 * 1024;
const CPU: Duration = Duration::from_secs(1);
const PROCESSES: u32 = 8;

/// What one session may be asked, in words, and whether it is declared to be enforced.
type Wish = (String, bool, fn(&mut SandboxSpec));

fn wishes(enforced: Enforcement) -> [Wish; 6] {
    [
        (
            "reading outside to be denied".to_owned(),
            enforced.filesystem_read,
            |spec| spec.policy.deny_read_outside = true,
        ),
        (
            "writing outside to be denied".to_owned(),
            enforced.filesystem_write,
            |spec| spec.policy.deny_write_outside = true,
        ),
        (
            "the network to be denied".to_owned(),
            enforced.network,
            |spec| spec.policy.deny_network = true,
        ),
        ("a limit of memory".to_owned(), enforced.memory, |spec| {
            spec.limits.memory_bytes = Some(MEMORY)
        }),
        ("a limit of CPU time".to_owned(), enforced.cpu, |spec| {
            spec.limits.cpu_time = Some(CPU)
        }),
        (
            "a limit of processes".to_owned(),
            enforced.processes,
            |spec| spec.limits.processes = Some(PROCESSES),
        ),
    ]
}

/// The strictest policy that the sandbox declares to enforce.
pub(super) fn strictest(enforced: Enforcement) -> Policy {
    Policy {
        isolation: enforced.isolation,
        deny_read_outside: enforced.filesystem_read,
        deny_write_outside: enforced.filesystem_write,
        deny_network: enforced.network,
    }
}

/// Opens a session on `spec`, which must succeed if that is declared and be refused if not.
async fn asked(world: &World, what: &str, is_declared: bool, spec: SandboxSpec) -> Outcome {
    let did = format!("opened a session and asked for {what}");
    let opened = within(&did, world.sandbox.open(spec)).await?;
    if is_declared {
        let session = ok(did, opened)?;
        return ok(
            "closed it",
            within("closed it", session.close(false)).await?,
        );
    }
    refused(
        format!("{did}, which is not declared"),
        opened,
        Kind::Unsupported,
    )
}

/// SB-1.
pub async fn what_cannot_be_enforced_is_refused_and_what_can_is_taken<H: Harness>(
    harness: H,
) -> Outcome {
    let world = World::new(&harness)?;
    let enforced = world.sandbox.capabilities();
    for isolation in ISOLATIONS {
        let mut spec = world.ground.spec(1)?;
        spec.policy.isolation = isolation;
        let what = format!("the isolation {isolation:?}");
        asked(&world, &what, isolation <= enforced.isolation, spec).await?;
    }
    for (what, is_declared, wish) in wishes(enforced) {
        let mut spec = world.ground.spec(1)?;
        wish(&mut spec);
        asked(&world, &what, is_declared, spec).await?;
        // A wish that is enforced beside it makes it no better.
        let mut spec = world.ground.spec(1)?;
        spec.policy = strictest(enforced);
        wish(&mut spec);
        let what = format!("all that is enforced and {what}");
        asked(&world, &what, is_declared, spec).await?;
    }
    Ok(())
}

/// Runs a script under limits, which must keep it from succeeding.
async fn held(world: &World, what: &str, limits: Limits, script: &str) -> Outcome {
    let mut spec = world.ground.spec(1)?;
    spec.limits = limits;
    let session = world.open_with(spec).await?;
    let output = ran(&*session, sh(script)).await?;
    let is_held = !matches!(output.status, ExitStatus::Code(0) | ExitStatus::TimedOut);
    holds(
        is_held,
        format!("ran a command that needs more than its limit of {what}: `{script}`"),
        "its failure, before its timeout",
        output.status,
    )
}

/// SB-1.
pub async fn limits_that_are_taken_hold<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let enforced = world.sandbox.capabilities();
    let none = Limits::default();
    if enforced.memory {
        let limits = Limits {
            memory_bytes: Some(MEMORY),
            ..none
        };
        let script = "x=$(head -c 300000000 /dev/zero | tr '\\0' x) && [ ${#x} = 300000000 ]";
        held(&world, "memory", limits, script).await?;
    }
    if enforced.cpu {
        let limits = Limits {
            cpu_time: Some(CPU),
            ..none
        };
        held(&world, "CPU time", limits, "while :; do :; done").await?;
    }
    if enforced.processes {
        let limits = Limits {
            processes: Some(PROCESSES),
            ..none
        };
        // A shell that cannot fork fails.
        let script = "i=0; while [ $i -lt 20 ]; do sleep 5 & i=$((i + 1)); done";
        held(&world, "processes", limits, script).await?;
    }
    if enforced.memory || enforced.cpu || enforced.processes {
        Ok(())
    } else {
        Err(Halt::NotDeclared {
            capability: "limits",
            reason: "it declares none",
        })
    }
}

/// SB-1.
pub async fn missing_means_are_unavailable_with_what_to_do<H: Harness>(harness: H) -> Outcome {
    let connected = harness.without_its_means().await;
    let connected = connected.ok_or(Halt::NotCheckable("nothing that it needs can be missing"))?;
    let advice = connected
        .as_ref()
        .map_err(|error| error.message().to_owned());
    let advice = advice.err().unwrap_or_default();
    refused(
        "connected to a sandbox that misses what it needs",
        connected,
        Kind::Unavailable,
    )?;
    holds(
        !advice.trim().is_empty(),
        "connected to a sandbox that misses what it needs",
        "an error that says what to install",
        "no word",
    )
}
