//! The development certificate.

use std::os::unix::fs::PermissionsExt;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};

use super::*;
use crate::server::certificates::read_chain;
use crate::server::tls::provider;

#[test]
fn the_development_certificate_is_kept_while_it_is_good_and_replaced_when_it_is_not() {
    let (dir, cert) = dev();
    let read = || [&cert.ca, &cert.cert, &cert.key].map(|path| fs::read_to_string(path).unwrap());
    let first = read();
    assert_eq!(fs::metadata(&cert.key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing but the three files: no key of the CA");
    assert_eq!(dev_certificate(dir.path()).unwrap(), cert);
    assert_eq!(read(), first, "kept");

    let mode = |mode| fs::set_permissions(&cert.key, fs::Permissions::from_mode(mode)).unwrap();
    let damages: [(&str, &dyn Fn()); 5] = [
        ("a key that is gone", &|| fs::remove_file(&cert.key).unwrap()),
        ("a leaf of another CA", &|| {
            fs::write(&cert.ca, {
                let (_dir, other) = dev();
                fs::read(other.ca).unwrap()
            })
            .unwrap()
        }),
        ("a key that its group can read", &|| mode(0o640)),
        ("a key that everybody can read", &|| mode(0o604)),
        ("a file cut short", &|| fs::write(&cert.cert, "-----BEGIN CERT").unwrap()),
    ];
    for (what, damage) in damages {
        damage();
        let before = fs::read_to_string(&cert.ca).unwrap();
        dev_certificate(dir.path()).unwrap();
        assert_ne!(fs::read_to_string(&cert.ca).unwrap(), before, "{what}");
        assert_eq!(fs::metadata(&cert.key).unwrap().permissions().mode() & 0o777, 0o600, "{what}");
        tls(&cert);
    }
}

#[test]
fn the_development_leaf_lasts_397_days_and_for_its_names_alone() {
    let (_dir, cert) = dev();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(read_chain(&cert.ca).unwrap()[0].clone()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build().unwrap();
    let leaf = read_chain(&cert.cert).unwrap();
    let holds = |name: &str, days: u64| {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + days * 86_400));
        verifier.verify_server_cert(&leaf[0], &[], &ServerName::try_from(name.to_owned()).unwrap(), &[], at).is_ok()
    };
    for name in ["localhost", "127.0.0.1", "::1"] {
        assert!(holds(name, 0) && holds(name, 396), "{name}");
        assert!(!holds(name, 397), "{name}");
    }
    assert!(!holds("example.com", 0) && !holds("127.0.0.2", 0));
}
