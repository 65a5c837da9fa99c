//! Tokens that must not be taken. Each row is 401 at the door, and the log knows why.

use std::sync::OnceLock;

use futures_util::FutureExt;
use jsonwebtoken::{Algorithm, EncodingKey};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Issuers, NOW, Signer, encoded, good, signers, two_keys, with};
use crate::edge::auth::jwt::token::MAX_TOKEN;
use crate::model::Timestamp;
use crate::telemetry::AuthOutcome;
use crate::telemetry::AuthOutcome::{Algorithm as Alg, Claims, Expired, Malformed, TooEarly, Unknown, Wrong};

pub(super) type Row = (String, String, AuthOutcome);

fn row(name: impl ToString, token: impl Into<String>, outcome: AuthOutcome) -> Row {
    (name.to_string(), token.into(), outcome)
}

/// A token of the RSA key, with `changes` in its header.
fn headed(now: Timestamp, changes: Value) -> String {
    let rsa = &signers().0;
    rsa.sign(&with(rsa.header(), changes).to_string(), &good(now).to_string())
}

/// A token of the EC key, with `changes` in its claims.
fn claiming(now: Timestamp, changes: Value) -> String {
    signers().1.token(&with(good(now), changes))
}

/// Replaces the signature.
fn signed_with(token: &str, signature: impl AsRef<[u8]>) -> String {
    format!("{}.{}", token.rsplit_once('.').unwrap().0, encoded(signature))
}

fn algorithms(now: Timestamp) -> Vec<Row> {
    let (rsa, ec) = signers();
    let mut rows = Vec::new();
    for name in ["none", "None", "nOnE", "NONE", "", "rs256", "HS257", "RS256 "] {
        let token = headed(now, json!({"alg": name}));
        rows.push(row(format!("alg {name:?}, signed"), &token, Alg));
        rows.push(row(format!("alg {name:?}, not signed"), signed_with(&token, ""), Alg));
    }
    let public = rsa.jwk();
    let modulus = public["n"].as_str().unwrap();
    for secret in [format!("-----BEGIN PUBLIC KEY-----\n{modulus}\n-----END PUBLIC KEY-----\n"), modulus.to_owned()] {
        let forger = Signer { id: "r1", algorithm: Algorithm::HS256, key: EncodingKey::from_secret(secret.as_bytes()) };
        rows.push(row("HS256 with the public key", forger.token(&good(now)), Alg));
    }
    for other in [Algorithm::RS512, Algorithm::PS256] {
        rows.push(row("an algorithm of the key, not of the issuer", rsa.as_algorithm(other).token(&good(now)), Alg));
    }
    for other in [Algorithm::ES384, Algorithm::EdDSA] {
        rows.push(row("an algorithm of neither", Signer::new("e1", other).token(&good(now)), Alg));
    }
    let crossed = |signer: &Signer, id| {
        signer.sign(&with(signer.header(), json!({"kid": id})).to_string(), &good(now).to_string())
    };
    rows.push(row("RS256 under the name of the EC key", crossed(rsa, "e1"), Alg));
    rows.push(row("ES256 under the name of the RSA key", crossed(ec, "r1"), Alg));
    rows
}

fn signatures(now: Timestamp) -> Vec<Row> {
    let (rsa, ec) = signers();
    let token = ec.token(&good(now));
    let mut rows = vec![
        row("another key of that name", Signer::new("e1", Algorithm::ES256).token(&good(now)), Wrong),
        row("no signature", signed_with(&token, ""), Wrong),
        row("r = s = 0", signed_with(&token, [0; 64]), Wrong),
        row("zeros of another length", signed_with(&token, [0; 256]), Wrong),
        row(
            "the signature of another token",
            {
                let other = ec.token(&with(good(now), json!({"sub": "eve"})));
                format!("{}.{}", token.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1)
            },
            Wrong,
        ),
        row("RSA of another key", Signer::new("r1", Algorithm::RS256).token(&good(now)), Wrong),
        row("RSA without a signature", signed_with(&rsa.token(&good(now)), ""), Wrong),
    ];
    for name in ["r2", "", "R1", "r1 ", "r1\0", "r1\n", "../../../../dev/null", "' OR '1'='1", "r1;id", "%72%31"] {
        rows.push(row(format!("kid {name:?}"), headed(now, json!({"kid": name})), Unknown));
    }
    for odd in [json!(1), json!(["r1"]), json!({"r1": 1})] {
        rows.push(row(format!("kid {odd}"), headed(now, json!({"kid": odd})), Malformed));
    }
    rows
}

fn claims(now: Timestamp) -> Vec<Row> {
    let cases = [
        (json!({"iss": null}), Claims),
        (json!({"iss": ["evil", super::ISSUER]}), Claims),
        (json!({"iss": 5}), Claims),
        (json!({"iss": "https://id.example/"}), Unknown),
        (json!({"iss": "https://evil.example"}), Unknown),
        (json!({"aud": null}), Claims),
        (json!({"aud": 5}), Claims),
        (json!({"aud": "gatewatch-admin"}), Claims),
        (json!({"aud": []}), Claims),
        (json!({"aud": ["x", "y"]}), Claims),
        (json!({"aud": ["gatewatch", 5]}), Claims),
        (json!({"aud": {"gatewatch": true}}), Claims),
        (json!({"sub": null}), Claims),
        (json!({"sub": ""}), Claims),
        (json!({"sub": 7}), Claims),
        (json!({"sub": "a\nb"}), Claims),
        (json!({"sub": "a\u{85}b"}), Claims),
        (json!({"sub": "x".repeat(256)}), Claims),
        (json!({"exp": null}), Claims),
        (json!({"exp": "1900000000"}), Claims),
        (json!({"exp": true}), Claims),
        (json!({"exp": -5}), Claims),
        (json!({"scope": 5}), Claims),
        (json!({"scope": [5]}), Claims),
        (json!({"vms": {"*": true}}), Claims),
        (json!({"vms": ["*", null]}), Claims),
        (json!({"vms": "a ".repeat(257)}), Claims),
    ];
    cases.into_iter().map(|(changes, outcome)| row(&changes, claiming(now, changes.clone()), outcome)).collect()
}

fn times(now: Timestamp) -> Vec<Row> {
    let at = |offset: f64| now.0 + offset;
    let cases = [
        (json!({"iat": at(-700.0), "exp": at(-31.0)}), Expired),
        (json!({"exp": 0}), Expired),
        (json!({"nbf": at(40.0)}), TooEarly),
        (json!({"nbf": 1e300}), TooEarly),
        (json!({"nbf": "now"}), Claims),
        (json!({"iat": at(40.0)}), TooEarly),
        (json!({"iat": [1]}), Claims),
        (json!({"exp": at(86_402.0)}), Claims),
        (json!({"exp": at(86_500.0), "iat": null}), Claims),
        (json!({"exp": at(60.0), "iat": at(-86_400.0)}), Claims),
        (json!({"exp": 1e18}), Claims),
        (json!({"exp": 1e300}), Claims),
    ];
    cases.into_iter().map(|(changes, outcome)| row(&changes, claiming(now, changes.clone()), outcome)).collect()
}

fn forms(now: Timestamp) -> Vec<Row> {
    let (rsa, ec) = signers();
    let mut rows = Vec::new();
    for crit in [json!(["b64"]), json!([]), json!("exp"), json!(["exp"])] {
        rows.push(row(format!("crit {crit}"), headed(now, json!({"crit": crit})), Malformed));
    }
    let header = rsa.header().to_string();
    let payload = good(now).to_string();
    let null = header.replace("{", "{\"crit\":null,");
    rows.push(row("crit null", rsa.sign(&null, &payload), Malformed));
    for kind in ["logout+jwt", "secevent+jwt", "dpop+jwt", "", "JWT "] {
        rows.push(row(format!("typ {kind:?}"), headed(now, json!({"typ": kind})), Claims));
    }
    rows.push(row("typ is a number", headed(now, json!({"typ": 5})), Malformed));
    rows.push(row("alg is a list", headed(now, json!({"alg": ["RS256"]})), Malformed));
    rows.push(row("no alg", headed(now, json!({"alg": null})), Malformed));

    // Whoever brings a key along is not asked which.
    let eve = Signer::new("r1", Algorithm::RS256);
    let stranger = Signer { id: "eve", ..Signer::new("eve", Algorithm::RS256) };
    for (name, brought) in [
        ("jwk", json!({"jwk": eve.jwk()})),
        ("jku", json!({"jku": "https://evil.example/jwks"})),
        ("x5u", json!({"x5u": "https://evil.example/cert"})),
    ] {
        let headed = with(eve.header(), brought.clone()).to_string();
        rows.push(row(format!("{name} for a known kid"), eve.sign(&headed, &payload), Wrong));
        let headed = with(stranger.header(), brought).to_string();
        rows.push(row(format!("{name} for an unknown kid"), stranger.sign(&headed, &payload), Unknown));
    }

    let huge = ec.token(&with(good(now), json!({"x": "y".repeat(MAX_TOKEN)})));
    rows.push(row("huge", huge, Malformed));
    let twice = payload.replacen('{', "{\"sub\":\"eve\",", 1);
    rows.push(row("a claim twice", rsa.sign(&header, &twice), Malformed));
    let twice = header.replacen('{', "{\"alg\":\"none\",", 1);
    rows.push(row("alg twice", rsa.sign(&twice, &payload), Malformed));
    for (header, payload) in
        [("[]", payload.as_str()), ("", &payload), (&header, "[]"), (&header, ""), (&header, "{}x")]
    {
        rows.push(row(format!("{header} {payload}"), rsa.sign(header, payload), Malformed));
    }
    let token = rsa.token(&good(now));
    let [head, body, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    for text in [
        format!("{head}=.{body}.{signature}"),
        format!("{head}.{body}"),
        format!("{head}.{body}.{signature}.x"),
        format!("{head}. {body}.{signature}"),
        format!(".{body}.{signature}"),
        "..".to_owned(),
        String::new(),
    ] {
        rows.push(row(&text, text.clone(), Malformed));
    }
    rows
}

/// Every row there is.
pub(super) fn all(now: Timestamp) -> Vec<Row> {
    [algorithms, signatures, claims, times, forms].into_iter().flat_map(|rows| rows(now)).collect()
}

/// [`two_keys`], made once.
fn shared() -> &'static Issuers {
    static ISSUERS: OnceLock<Issuers> = OnceLock::new();
    ISSUERS.get_or_init(two_keys)
}

fn check(rows: Vec<Row>) {
    let issuers = shared();
    for signer in [&signers().0, &signers().1] {
        assert!(issuers.verify(&signer.token(&good(NOW)), NOW).now_or_never().unwrap().is_ok(), "the fixture is good");
    }
    for (name, token, outcome) in rows {
        let judged = issuers.verify(&token, NOW).now_or_never().expect("keys in a file keep nobody waiting");
        assert_eq!(judged.map_err(|fault| (fault.outcome(), fault.to_string())).unwrap_err().0, outcome, "{name}");
    }
}

#[test]
fn g33_the_algorithm_is_the_issuers_and_the_keys_never_the_tokens() {
    check(algorithms(NOW));
}

#[test]
fn g33_only_the_named_key_of_the_issuer_counts() {
    check(signatures(NOW));
}

#[test]
fn g34_claims_are_all_there_and_of_their_types() {
    check(claims(NOW));
}

#[test]
fn g35_times_are_strict_and_lifetimes_bounded() {
    check(times(NOW));
}

#[test]
fn g36_odd_headers_and_forms_are_refused() {
    check(forms(NOW));
}

#[test]
fn g36_a_token_cut_anywhere_is_refused() {
    let issuers = shared();
    for signer in [&signers().0, &signers().1] {
        let token = signer.token(&good(NOW));
        for end in 0..token.len() {
            let judged = issuers.verify(&token[..end], NOW).now_or_never().unwrap();
            assert!(matches!(judged.unwrap_err().outcome(), Malformed | Wrong), "cut at {end}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn g36_no_text_panics_or_opens(text in "\\PC*|[A-Za-z0-9_.-]{0,200}|eyJ[A-Za-z0-9_-]*\\.eyJ[A-Za-z0-9_-]*\\.[A-Za-z0-9_-]*") {
        prop_assert!(shared().verify(&text, NOW).now_or_never().unwrap().is_err());
    }

    #[test]
    fn g36_no_header_and_no_claims_panic(header in json_text(), payload in json_text(), exp in proptest::num::f64::ANY) {
        let issuers = shared();
        let ec = &signers().1;
        for token in [
            ec.sign(&header, &good(NOW).to_string()),
            ec.sign(&ec.header().to_string(), &payload),
            ec.token(&with(good(NOW), json!({"exp": exp, "x": payload}))),
        ] {
            let _ = issuers.verify(&token, NOW).now_or_never().unwrap();
        }
    }

    #[test]
    fn g33_no_changed_byte_is_overlooked(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_-]") {
        let token = signers().1.token(&good(NOW));
        let at = at.index(token.len());
        prop_assume!(token[at..=at] != to);
        let changed = format!("{}{to}{}", &token[..at], &token[at + 1..]);
        prop_assert!(shared().verify(&changed, NOW).now_or_never().unwrap().is_err());
    }
}

/// JSON of any kind, and objects with the members that are looked at.
fn json_text() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("alg"), Just("kid"), Just("typ"), Just("iss"), Just("aud"), Just("exp"), Just("scope")];
    let value = "[0-9]{1,30}|\"\\PC{0,20}\"|\\[\\]|\\{\\}|null|-1e999|[\\[]{1,200}";
    let object = prop::collection::vec((name, value), 0..5).prop_map(|members| {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    });
    prop_oneof![object, "\\PC{0,40}"]
}
