use std::time::Instant;

use super::*;

fn azure(code: &str) -> String {
    format!(
        r#"[{{"code": "ProvisioningState/succeeded", "displayStatus": "Provisioning succeeded", "level": "Info",
             "message": null, "time": "2026-01-02T10:11:12.345678+00:00"}},
            {{"code": "{code}", "displayStatus": "VM", "level": "Info", "message": null, "time": null}}]"#
    )
}

fn aws(state: &str) -> String {
    format!(
        r#"{{"Reservations": [{{"Groups": [], "Instances": [{{"AmiLaunchIndex": 0, "ImageId": "ami-0abc",
            "InstanceId": "i-0123456789abcdef0", "Monitoring": {{"State": "disabled"}},
            "State": {{"Code": 16, "Name": "{state}"}}, "StateTransitionReason": ""}}], "OwnerId": "123456789012",
            "ReservationId": "r-0abc"}}]}}"#
    )
}

fn gcloud(status: &str) -> String {
    format!(
        r#"{{"kind": "compute#instance", "id": "123", "name": "waa", "status": "{status}", "lastStartTimestamp": "x",
            "zone": "https://www.googleapis.com/compute/v1/projects/p/zones/europe-west1-b"}}"#
    )
}

#[test]
fn every_state_of_the_clouds_is_known() {
    type Read = fn(&[u8]) -> Result<Power, String>;
    type Sample = fn(&str) -> String;
    type Case = (Read, Sample, &'static [(&'static str, Power)]);
    let table: [Case; 3] = [
        (
            parse::azure,
            azure,
            &[
                ("PowerState/running", Power::On),
                ("PowerState/starting", Power::Starting),
                ("PowerState/stopping", Power::Stopping),
                ("PowerState/stopped", Power::Off),
                ("PowerState/deallocating", Power::Stopping),
                ("PowerState/deallocated", Power::Off),
            ],
        ),
        (
            parse::aws,
            aws,
            &[
                ("pending", Power::Starting),
                ("running", Power::On),
                ("shutting-down", Power::Stopping),
                ("stopping", Power::Stopping),
                ("stopped", Power::Off),
                ("terminated", Power::Off),
            ],
        ),
        (
            parse::gcloud,
            gcloud,
            &[
                ("PROVISIONING", Power::Starting),
                ("STAGING", Power::Starting),
                ("RUNNING", Power::On),
                ("STOPPING", Power::Stopping),
                ("SUSPENDING", Power::Stopping),
                ("SUSPENDED", Power::Off),
                ("TERMINATED", Power::Off),
            ],
        ),
    ];
    for (read, sample, states) in table {
        for (state, expected) in states {
            assert_eq!(read(sample(state).as_bytes()), Ok(*expected), "{state}");
        }
        for bad in ["", "null", "[]", "{}", "nonsense", r#"{"Reservations": []}"#, &sample("PowerState/odd")] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
    assert_eq!(parse::azure(br#"[{"code": "ProvisioningState/creating"}]"#), Ok(Power::Starting));
}

#[test]
fn a_command_is_read_by_its_words() {
    for (output, expected) in [
        ("ON\nmore", Some(Power::On)),
        ("running", Some(Power::On)),
        ("Stopped", Some(Power::Off)),
        ("\n  off \n", Some(Power::Off)),
        ("starting", Some(Power::Starting)),
        ("STOPPING", Some(Power::Stopping)),
        ("", None),
        ("powered on", None),
        ("\u{0}", None),
    ] {
        assert_eq!(parse::words(output.as_bytes()).ok(), expected, "{output:?}");
    }
}

#[test]
fn g65_values_cannot_become_options() {
    let azure = PowerConfig::Azure { name: "--debug".to_owned(), resource_group: "-g".to_owned() };
    let source = PowerSource::Command(azure);
    let argv = source.argv();
    assert!(argv.contains(&"--name=--debug".to_owned()) && argv.contains(&"--resource-group=-g".to_owned()));
}

fn command(argv: &[&str]) -> PowerSource {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    PowerSource::Command(PowerConfig::Command { argv })
}

#[tokio::test]
async fn a_command_answers_or_fails_with_its_words() {
    assert_eq!(command(&["echo", "running"]).ask().await, Ok(Power::On));
    for (argv, said) in [
        (&["no-such-program"][..], "no program"),
        (&[], "empty"),
        (&["sh", "-c", "echo broken >&2; exit 3"], "broken"),
        (&["echo", "$(echo on)"], "not one of"),
        (&["yes"], "more than"),
    ] {
        let failure = command(argv).ask().await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::PowerFailed);
        assert!(failure.message.contains(said), "{failure}");
    }
}

#[tokio::test]
async fn a_command_that_is_given_up_ends_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let marker = format!("37{}.5", std::process::id());
    let script = format!("sleep {marker} & touch {}/begun; wait", folder.path().display());
    let source = command(&["sh", "-c", &script]);
    let begun = async {
        while !folder.path().join("begun").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        answer = source.ask() => panic!("{answer:?}"),
        () = begun => {}
    }
    let since = Instant::now();
    while std::process::Command::new("pgrep").args(["-f", &marker]).output().unwrap().status.success() {
        assert!(since.elapsed() < Duration::from_secs(2), "a process is left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_missing_program_is_named() {
    assert_eq!(command(&["sh"]).missing_program(), None);
    assert_eq!(command(&["/bin/sh"]).missing_program(), None);
    assert_eq!(command(&["no-such-program", "x"]).missing_program(), Some("no-such-program".to_owned()));
    assert_eq!(command(&["/etc/passwd"]).missing_program(), Some("/etc/passwd".to_owned()));
    assert_eq!(command(&[]).missing_program(), Some(String::new()));
}
