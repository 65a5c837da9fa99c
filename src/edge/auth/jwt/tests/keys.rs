//! Which keys of a set are used, and which sets.

use futures_util::FutureExt;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{Issuers, NOW, Signer, config, encoded, good, in_file, metrics, set_of, signers, with};
use crate::config::{JwtConfig, JwtKeys};
use crate::edge::auth::jwt::ring::{MAX_KEYS, MAX_SET};
use crate::telemetry::AuthOutcome;

fn load(set: &str, algorithms: &[&str]) -> Result<Issuers, String> {
    let dir = tempfile::tempdir().unwrap();
    Issuers::load(&[in_file(dir.path(), set, algorithms)], &metrics()).map_err(|error| error.to_string())
}

fn outcome(issuers: &Issuers, token: &str) -> AuthOutcome {
    issuers.verify(token, NOW).now_or_never().unwrap().map_or_else(|fault| fault.outcome(), |_| AuthOutcome::Ok)
}

#[test]
fn g33_g40_keys_that_are_not_for_this_are_left_out_and_a_set_of_nothing_else_is_refused() {
    let (rsa, ec) = signers();
    let short = |bytes: usize| json!({"kty": "RSA", "kid": "k", "n": encoded(vec![0xff; bytes]), "e": "AQAB"});
    let padded = [vec![0; 64], vec![0xff; 200]].concat();
    let odd = [
        json!({"kty": "oct", "kid": "k", "k": encoded([7; 64]), "alg": "HS256"}),
        with(ec.jwk(), json!({"use": "enc"})),
        with(ec.jwk(), json!({"use": "signature"})),
        with(ec.jwk(), json!({"use": null, "key_ops": ["sign"]})),
        with(ec.jwk(), json!({"use": null, "key_ops": []})),
        with(ec.jwk(), json!({"alg": "ES384"})),
        with(ec.jwk(), json!({"alg": "ECDH-ES"})),
        with(ec.jwk(), json!({"kty": "XX"})),
        with(ec.jwk(), json!({"crv": "secp256k1"})),
        with(ec.jwk(), json!({"crv": "P-384", "alg": null})),
        with(ec.jwk(), json!({"crv": "P-521", "alg": null})),
        with(ec.jwk(), json!({"x": "AA"})),
        with(ec.jwk(), json!({"x": "not base64!"})),
        with(ec.jwk(), json!({"kid": 5})),
        with(rsa.jwk(), json!({"alg": "RSA-OAEP"})),
        with(rsa.jwk(), json!({"alg": "RS384"})),
        with(rsa.jwk(), json!({"e": "AQ"})),
        with(rsa.jwk(), json!({"e": "Ag"})),
        short(128),
        short(255),
        short(1025),
        json!({"kty": "RSA", "kid": "k", "n": encoded(padded), "e": "AQAB"}),
        json!({"kty": "OKP", "kid": "k", "crv": "Ed25519", "x": encoded([1; 31])}),
        json!({"kty": "OKP", "kid": "k", "crv": "Ed448", "x": encoded([1; 57])}),
        json!({}),
        json!(5),
        json!("key"),
    ];
    let algorithms = ["RS256", "ES256", "EdDSA"];
    for key in &odd {
        let error = load(&set_of(std::slice::from_ref(key)), &algorithms).unwrap_err();
        assert!(error.ends_with("has no key that can be used"), "{key}: {error}");
    }
    // Among others they do no harm.
    let among: Vec<Value> = odd.iter().cloned().chain([ec.jwk()]).collect();
    assert_eq!(outcome(&load(&set_of(&among), &algorithms).unwrap(), &ec.token(&good(NOW))), AuthOutcome::Ok);
}

#[test]
fn g40_a_set_has_its_bounds() {
    let key = signers().1.jwk();
    for (set, why) in [
        ("", "is no JWK set"),
        ("[]", "is no JWK set"),
        ("{\"keys\": {}}", "is no JWK set"),
        ("{\"keys\": []}", "has no key that can be used"),
        (&set_of(&vec![key.clone(); MAX_KEYS + 1]), "has more than 64 keys"),
        (&format!("{}{}", set_of(std::slice::from_ref(&key)), " ".repeat(MAX_SET)), "is larger than 262144 bytes"),
    ] {
        let error = load(set, &["ES256"]).unwrap_err();
        assert!(error.ends_with(why), "{error}");
    }
    let others: Vec<_> =
        (1..MAX_KEYS).map(|n| with(key.clone(), json!({"kid": format!("k{n}")}))).chain([key.clone()]).collect();
    assert_eq!(outcome(&load(&set_of(&others), &["ES256"]).unwrap(), &signers().1.token(&good(NOW))), AuthOutcome::Ok);
}

#[test]
fn g40_keys_of_one_name_are_told_apart_by_type_and_algorithm_and_never_by_their_order() {
    let (rsa, ec) = (&signers().0, Signer::new("r1", Algorithm::ES256));
    let (one, two) = (Signer::new("k", Algorithm::ES256), Signer::new("k", Algorithm::ES256));
    let all = ["RS256", "RS384", "ES256"];
    for keys in [[rsa.jwk(), ec.jwk()], [ec.jwk(), rsa.jwk()]] {
        let issuers = load(&set_of(&keys), &all).unwrap();
        for signer in [rsa, &ec] {
            assert_eq!(outcome(&issuers, &signer.token(&good(NOW))), AuthOutcome::Ok);
        }
    }
    // The same key twice, for an algorithm each.
    let keys = [rsa.jwk(), rsa.as_algorithm(Algorithm::RS384).jwk()];
    let issuers = load(&set_of(&keys), &all).unwrap();
    assert_eq!(outcome(&issuers, &rsa.as_algorithm(Algorithm::RS384).token(&good(NOW))), AuthOutcome::Ok);
    let issuers = load(&set_of(&[one.jwk(), two.jwk()]), &all).unwrap();
    for signer in [&one, &two] {
        assert_eq!(outcome(&issuers, &signer.token(&good(NOW))), AuthOutcome::Unknown, "a guess");
    }
    // Without a name: the one that fits, if it is one.
    let unnamed =
        |signer: &Signer| signer.sign(&with(signer.header(), json!({"kid": null})).to_string(), &good(NOW).to_string());
    let other = Signer::new("e2", Algorithm::ES256);
    let issuers = load(&set_of(&[rsa.jwk(), ec.jwk(), other.jwk()]), &all).unwrap();
    assert_eq!(outcome(&issuers, &unnamed(rsa)), AuthOutcome::Ok);
    assert_eq!(outcome(&issuers, &unnamed(&ec)), AuthOutcome::Unknown);
}

#[test]
fn g63_a_new_set_of_issuers_is_in_force_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (rsa, ec) = signers();
    let first = in_file(dir.path(), &set_of(&[ec.jwk()]), &["ES256", "RS256"]);
    let JwtKeys::File(path) = first.keys.clone() else { panic!("a file") };
    let second_path = dir.path().join("second.json");
    let second = JwtConfig {
        issuer: "https://second.example".to_owned(),
        ..config(JwtKeys::File(second_path.clone()), &["RS256"])
    };
    let issuers = Issuers::load(std::slice::from_ref(&first), &metrics()).unwrap();

    std::fs::write(&path, set_of(&[rsa.jwk()])).unwrap();
    std::fs::write(&second_path, "{}").unwrap();
    let error = issuers.reload(&[first.clone(), second.clone()]).unwrap_err();
    assert!(error.to_string().contains("second"), "{error}");
    assert_eq!(outcome(&issuers, &ec.token(&good(NOW))), AuthOutcome::Ok, "the old keys stay");
    assert_eq!(outcome(&issuers, &rsa.token(&good(NOW))), AuthOutcome::Unknown);

    std::fs::write(&second_path, set_of(&[rsa.jwk()])).unwrap();
    issuers.reload(&[first, second]).unwrap();
    assert_eq!(outcome(&issuers, &ec.token(&good(NOW))), AuthOutcome::Unknown);
    let of_second = with(good(NOW), json!({"iss": "https://second.example"}));
    assert_eq!(outcome(&issuers, &rsa.token(&of_second)), AuthOutcome::Ok);
}
