//! Tokens that are taken, and whom they make.

use std::os::unix::fs::PermissionsExt;
use std::str::FromStr;

use futures_util::FutureExt;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::{
    AUDIENCE, ISSUER, Issuers, IssuersError, NOW, Signer, config, good, in_file, metrics, set_of, signers, two_keys,
    with,
};
use crate::config::JwtKeys;
use crate::model::{Principal, PrincipalKind, Scope, Timestamp, VmName};
use crate::telemetry::AuthOutcome;

fn taken(issuers: &Issuers, token: &str) -> Principal {
    let judged = issuers.verify(token, NOW).now_or_never().expect("no wait");
    (*judged.unwrap_or_else(|fault| panic!("{fault}"))).clone()
}

/// Whether a token of the EC key with `changes` in its claims is taken at `now`.
fn takes(issuers: &Issuers, changes: Value) -> bool {
    issuers.verify(&signers().1.token(&with(good(NOW), changes)), NOW).now_or_never().unwrap().is_ok()
}

#[test]
fn g33_each_algorithm_is_taken_where_it_is_allowed_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let rsa = &signers().0;
    let names = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
    for name in names {
        let algorithm = Algorithm::from_str(name).unwrap();
        let signer = if name.contains("S5") || name.starts_with("RS") || name.starts_with("PS") {
            rsa.as_algorithm(algorithm)
        } else {
            Signer::new("k", algorithm)
        };
        let set = set_of(&[signer.jwk()]);
        let issuers = Issuers::load(&[in_file(dir.path(), &set, &[name])], &metrics()).unwrap();
        assert_eq!(&*taken(&issuers, &signer.token(&good(NOW))).name, "ada@https://id.example", "{name}");

        let others: Vec<_> = names.into_iter().filter(|other| *other != name).collect();
        let other = Signer::new("o", Algorithm::ES256);
        let other = if name == "ES256" { Signer::new("o", Algorithm::ES384) } else { other };
        let set = set_of(&[signer.jwk(), other.jwk()]);
        let issuers = Issuers::load(&[in_file(dir.path(), &set, &others)], &metrics()).unwrap();
        let fault = issuers.verify(&signer.token(&good(NOW)), NOW).now_or_never().unwrap().unwrap_err();
        assert_eq!(fault.outcome(), AuthOutcome::Algorithm, "{name}");
    }
}

#[test]
fn g26_g33_shared_secrets_are_long_private_and_the_only_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let secret = "0123456789abcdef0123456789abcdef";
    let write = |text: &str, mode| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let load = |names: &[&str]| Issuers::load(&[config(JwtKeys::Secret(path.clone()), names)], &metrics());

    write(&format!("{secret}\r\n"), 0o600);
    for name in ["HS256", "HS384", "HS512"] {
        let algorithm = Algorithm::from_str(name).unwrap();
        let signer = Signer { id: "any", algorithm, key: EncodingKey::from_secret(secret.as_bytes()) };
        let issuers = load(&[name]).unwrap();
        assert_eq!(taken(&issuers, &signer.token(&good(NOW))).kind, PrincipalKind::Jwt);
        let unnamed = with(signer.header(), json!({"kid": null})).to_string();
        taken(&issuers, &signer.sign(&unnamed, &good(NOW).to_string()));
        let wrong = Signer { key: EncodingKey::from_secret(format!("{secret}\r\n").as_bytes()), ..signer };
        let fault = issuers.verify(&wrong.token(&good(NOW)), NOW).now_or_never().unwrap().unwrap_err();
        assert_eq!(fault.outcome(), AuthOutcome::Wrong);
    }
    assert!(matches!(load(&["HS256", "RS256"]), Err(IssuersError::Algorithm { .. })));
    for (text, mode) in [(&secret[1..], 0o600), ("", 0o600), (secret, 0o640)] {
        write(text, mode);
        let error = load(&["HS256"]).unwrap_err().to_string();
        assert!(error.contains("secret") && !error.contains("0123456789abcdef0"), "{error}");
    }
    let with_public = in_file(dir.path(), &set_of(&[signers().0.jwk()]), &["HS256"]);
    assert!(matches!(Issuers::load(&[with_public], &metrics()), Err(IssuersError::Algorithm { .. })));
}

#[test]
fn g34_what_a_token_says_is_who_it_makes() {
    let issuers = two_keys();
    let principal = taken(&issuers, &signers().1.token(&good(NOW)));
    assert_eq!((principal.kind, &*principal.name), (PrincipalKind::Jwt, "ada@https://id.example"));
    assert_eq!(principal.issuer.as_deref(), Some(ISSUER));
    assert_eq!(principal.expires_at, Some(NOW.plus(std::time::Duration::from_secs(600))));
    assert!(principal.scopes.allow(Scope::EventsRead) && !principal.scopes.allow(Scope::MetricsRead));
    let sees = |name: &str| principal.vms.allows(&VmName::new(name).unwrap());
    assert!(sees("waa-1") && !sees("lab"));

    for changes in [
        json!({"aud": ["x", AUDIENCE]}),
        json!({"aud": "other"}),
        json!({"sub": "ü".repeat(255)}),
        json!({"exp": NOW.0 + 86_400.0, "iat": NOW.0}),
    ] {
        assert!(takes(&issuers, changes.clone()), "{changes}");
    }
}

#[test]
fn g35_clocks_may_be_thirty_seconds_off() {
    let issuers = two_keys();
    let at = |offset: f64| NOW.0 + offset;
    for (changes, ok) in [
        (json!({"exp": at(-29.0)}), true),
        (json!({"exp": at(-30.0)}), false),
        (json!({"nbf": at(30.0)}), true),
        (json!({"nbf": at(30.5)}), false),
        (json!({"iat": at(30.0)}), true),
        (json!({"iat": at(30.5)}), false),
        (json!({"iat": null, "exp": at(86_400.0)}), true),
        (json!({"iat": null, "exp": at(86_400.5)}), false),
        (json!({"exp": at(60.25)}), true),
    ] {
        assert_eq!(takes(&issuers, changes.clone()), ok, "{changes}");
    }
}

#[test]
fn g36_usual_types_and_a_token_without_a_kid_are_taken() {
    let issuers = two_keys();
    let rsa = &signers().0;
    for changes in [
        json!({"typ": null}),
        json!({"typ": "jwt"}),
        json!({"typ": "at+JWT"}),
        json!({"typ": "application/at+jwt"}),
        json!({"kid": null}),
        json!({"jku": "https://evil.example", "x5u": "https://evil.example"}),
        json!({"jwk": signers().1.jwk()}),
    ] {
        taken(&issuers, &rsa.sign(&with(rsa.header(), changes).to_string(), &good(NOW).to_string()));
    }
}

#[test]
fn scopes_and_vms_come_from_the_configured_claims_or_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let base = in_file(dir.path(), &set_of(&[signers().1.jwk()]), &["ES256"]);
    let granted = |scope_claim: Option<&str>, changes: Value| {
        let mut config = base.clone();
        config.scope_claim = scope_claim.map(str::to_owned);
        config.vms_claim = "machines".to_owned();
        let bare = with(good(NOW), json!({"scope": null, "vms": null}));
        let token = signers().1.token(&with(bare, changes));
        let principal = taken(&Issuers::load(&[config], &metrics()).unwrap(), &token);
        let scopes: Vec<_> = Scope::ALL.into_iter().filter(|scope| principal.scopes.allow(*scope)).collect();
        (scopes, principal.vms.globs().iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    type Case<'a> = (Option<&'a str>, Value, &'a [Scope], &'a [&'a str]);
    let cases: [Case<'_>; 10] = [
        (None, json!({}), &[Scope::MetricsRead], &["lab"]),
        (None, json!({"scope": "", "machines": ""}), &[], &[]),
        (None, json!({"scope": "vnc:view nonsense  events:read"}), &[Scope::EventsRead, Scope::VncView], &["lab"]),
        (None, json!({"scope": ["events:read", "nonsense"]}), &[Scope::EventsRead], &["lab"]),
        (None, json!({"scp": ["events:read"]}), &[Scope::EventsRead], &["lab"]),
        (None, json!({"scp": "events:read vms:write"}), &[Scope::EventsRead, Scope::VmsWrite], &["lab"]),
        (None, json!({"scope": "x", "scp": ["admin"]}), &[], &["lab"]),
        (Some("roles"), json!({"roles": ["vnc:view"], "scope": "admin"}), &[Scope::VncView], &["lab"]),
        (Some("roles"), json!({"scope": "admin"}), &[Scope::MetricsRead], &["lab"]),
        (None, json!({"machines": ["a-*", "A", "*x", "a b"], "vms": ["*"]}), &[Scope::MetricsRead], &["a-*", "*x"]),
    ];
    for (claim, changes, scopes, vms) in cases {
        let (found, globs) = granted(claim, changes.clone());
        assert_eq!(
            (found.as_slice(), globs.as_slice()),
            (scopes, vms.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice()),
            "{changes}"
        );
    }
}

#[test]
fn g49_a_principal_stands_until_its_token_ends_or_its_issuer_goes() {
    let dir = tempfile::tempdir().unwrap();
    let config = in_file(dir.path(), &set_of(&[signers().1.jwk()]), &["ES256"]);
    let issuers = Issuers::load(std::slice::from_ref(&config), &metrics()).unwrap();
    let principal = taken(&issuers, &signers().1.token(&good(NOW)));
    assert_eq!(issuers.renewed(&principal, NOW).as_deref(), Some(&principal));
    let session = Principal { kind: PrincipalKind::Session, ..principal.clone() };
    assert_eq!(issuers.renewed(&session, NOW).as_deref(), Some(&session), "and what was made out of it");
    assert_eq!(issuers.renewed(&principal, Timestamp(NOW.0 + 600.0)), None);
    issuers.reload(&[crate::config::JwtConfig { issuer: "https://new.example".to_owned(), ..config }]).unwrap();
    assert_eq!(issuers.renewed(&principal, NOW), None);
    assert_eq!(issuers.renewed(&Principal { issuer: None, ..principal }, NOW), None);
}
