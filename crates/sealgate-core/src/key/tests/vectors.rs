//! Keys and signatures that OpenSSL made, over `message`: also the pairs that the library can
//! verify but not sign (P-384 with SHA-256).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::*;
use HashAlgorithm::{Sha256, Sha384, Sha512};

const P256: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpd46ZyzzQfdPvf5Y4kGLRkYbV4dC
e7BaHTglW50di+5z0r99l8K1Sg3KvzfYgFTtWsOLFprr64Cm+BfhUZ0crA==
-----END PUBLIC KEY-----
";

const P384: &str = "\
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEQhdM/23eAMHJvaCOueWcFVt1C4Yog4cU
OwwIBzgTXke8GTXLaTs5K9OpgugJV/OCc8vxeKqGZbJROOSsZslCEP92+WbI6shD
PRMDtK+P7NTU2t8RD7yF09H4l+HiTyDS
-----END PUBLIC KEY-----
";

const P521: &str = "\
-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAVFyj9pAiLLIiKyGjWXcaNY4bVA3f
JzyaV3fHAc6/7hIYlIuag4ontA2317ioXdpeG586sLnAuunBIBvTmhrQTrUAIyUi
XFmSkAq/782prlA29haX9TW64T6LdyuvGazA4eSkVIcgz4Np31ezcz63MuaE4Hjj
6AbneiV17RwgBc0gyOk=
-----END PUBLIC KEY-----
";

const RSA: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA2aQBxZWJ1HPGzv2aDBZS
9WsJX4W3gZmCizX5jUpaZ06aE9yN214FyD6piMTCw8Om+dHF+YyyVs0+Xf4i2v6Z
Gu6sONmd8Juiz1PePSKm4FfTAWVijUwpQzI5d23K9pLTrat+MyRys1Dk/SPCXG/w
igNPZR3Aq8r4apbhN6ymaXASEKfPdd+dxyOqqIGQvqlMnRgfGoaHq5AM3TQ4vChP
lIIEQlLutv5e1AxZSxPsQtGOs3reuee/75IjWQIwuaILN5y+6renA593spe6f4Qe
MhGzkR8F+2wgPnbCokLWdYLg1yE3Wyc/HzxG8ukmmAYEHtm82D7bhY/LwAGoDGCu
AQIDAQAB
-----END PUBLIC KEY-----
";

const ED: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAoSZgZvrLCyph3e8bblk/mX97aRamHhbmlYMKQQ1BcTQ=
-----END PUBLIC KEY-----
";

const REFUSED_P224: &str = "\
-----BEGIN PUBLIC KEY-----
ME4wEAYHKoZIzj0CAQYFK4EEACEDOgAEYJNKocUQs/pDXOk6fVotWIO5X2T2R2EQ
hBxuqYcxGw/tqrrE2tyZtGZCkVnWED+Ht+/4CyrCSws=
-----END PUBLIC KEY-----
";

const REFUSED_BP: &str = "\
-----BEGIN PUBLIC KEY-----
MFowFAYHKoZIzj0CAQYJKyQDAwIIAQEHA0IABDtCBNpdF5SnkQuHOhdtOVrvH2PR
FZJjBOwG4dPL1eC4A3irxscip8D3m5CmuJNBi7YCSIUTIIzXkfaK5MdaV/U=
-----END PUBLIC KEY-----
";

const REFUSED_P256C: &str = "\
-----BEGIN PUBLIC KEY-----
MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgACpd46ZyzzQfdPvf5Y4kGLRkYbV4dC
e7BaHTglW50di+4=
-----END PUBLIC KEY-----
";

const REFUSED_P256E: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBSzCCAQMGByqGSM49AgEwgfcCAQEwLAYHKoZIzj0BAQIhAP////8AAAABAAAA
AAAAAAAAAAAA////////////////MFsEIP////8AAAABAAAAAAAAAAAAAAAA////
///////////8BCBaxjXYqjqT57PrvVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMVAMSd
NgiG5wSTamZ44ROdJreBn36QBEEEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5
RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9QIhAP////8AAAAA
//////////+85vqtpxeehPO5ysL8YyVRAgEBA0IABKXeOmcs80H3T73+WOJBi0ZG
G1eHQnuwWh04JVudHYvuc9K/fZfCtUoNyr832IBU7VrDixaa6+uApvgX4VGdHKw=
-----END PUBLIC KEY-----
";

const REFUSED_PSS: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIDALBgkqhkiG9w0BAQoDggEPADCCAQoCggEBAPN08at8r/OnFNWLGwdWw6zn
cz7vQF6mhD/eh7zYBNnt27zmTiY9UtRdkNsDtSYaJfbkeSC1G/q3Y5Oq3kHvbI/h
mzx9xPu7Wa957Sr2H2ZRboYakmh78SitB2ga1RhmnXgMSEIOCRdN8aKZ2enT4zBS
XdBvMPd5q902MmRluBznKul80lcLDrVumntxEQ6FIcTWrgdhh3bOhCgfa+5bPxHg
3M1y9z8NUBIeAEe4A8KzYD1MWPbkSpjgFu0TqRJuf/kycaDig9wPMj4gPKY6m4JR
lx9oG/bocP4TK9o0ek+L4RCpXbpjjJGHlQeRQB2X4wHjwpXrb2J3R28vQfwxoB0C
AwEAAQ==
-----END PUBLIC KEY-----
";

const REFUSED_ED448: &str = "\
-----BEGIN PUBLIC KEY-----
MEMwBQYDK2VxAzoApDzGeVRDr8kbHfWisVn8jNHlez5ICmRtOcQM2GZYOCl2TMai
UKK30Yt7C2ZAKEYUSwitWlu9u/4A
-----END PUBLIC KEY-----
";

const REFUSED_X: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VuAyEAtneYnFQ61mjKmZ7rteP8cBGPNIY/0HZb5pmE21r7fHI=
-----END PUBLIC KEY-----
";

#[rustfmt::skip]
const SIGNATURES: &[(&str, HashAlgorithm, &str)] = &[
    (P256, Sha256, "MEQCIDiG5YZaxk4vgMAwEfKcpgg6ykiJyOcP5oL7etISOY8nAiAnMihTcGXlyBgOouov6T3SRkkL0H4VVCHb0rSEM822lg=="),
    (P256, Sha384, "MEUCIQCkmqwRDVnkM6eecIKIAYhawltg7k8Y+2i3wP3B/o+CzQIgJ1HI8z7+FYt9TP1OwiibSBl3VvCuVzi4OLDQfTUh3k0="),
    (P256, Sha512, "MEQCICfL4gBp/4wn5RDUTB2reiB6J8WKklaabvDOrbh5gAtaAiA5NBpAwLwiqLjU0U/9lOmk40C4WNoDjQwY7qTJ5Sm8fw=="),
    (P384, Sha256, "MGUCMCkoHe5J8Nc7I/ETYNqulcYt5AbHscg5Fum9qQ1J6HAtL3MThyRnRiPkqj+Qfr+aEAIxAIGOmk9foj8HwDRDz1zvCzOLumFCyxIh6hXygh6uEZwsjeAINV4CUNNnxddz9u2yCg=="),
    (P384, Sha384, "MGQCMCppSqC42e92sFrkAxHXV0U2LKf8Qlpj8dsWgTwQJKkU2VaE7ZLhtZhOO8+hj8U1GgIwH2OpWwIRz76SIwBPLwj+SnqLXAwcszn+CNZGMI/UwU8d7qL8CYKIHMQSb4gyynNR"),
    (P384, Sha512, "MGQCMFjkDanxHQc+gEHbjI6OdJS1Em6SlYUZRm2kFa4y+ii+sgOYvlI8OBSTGYTGDwCdLQIwUtipxzQN/pMFLbJYt0w1cJ+JzO0xLG9VpiwrXteyq9qnnby9RzCM80NJt0bW6deN"),
    (P521, Sha256, "MIGIAkIAtgWPnqG5C9P2QHnW1QPmu8FdV9ykvXqeM43wZIbU7wkPbkaKG9e/ssNNj6Yb14oXntRSDdh5XL0SNGAAUC9qNcACQgClbck1sm1BhJexdCMPOYEddHlmbMGuuQQFrgbSYjhfeMmIs7QO2OiAi/Fcoh6gIvGyRv+GcnTAnZ1AyduCiXhUXA=="),
    (P521, Sha512, "MIGGAkEjsDIlR3SVXcVpFNZPwlxcDlg7Bkcnd/BIDsJ/+MpGcIon4lc3DsibaUDG8MwAkLj1h6JQe9VDPVo+3FcY5Gg0lwJBK6ZX7knt9IQBCc7zmG0dYu8icWiqXooQLxtCd0yngOWEnGQDmKCFwpXVBW9VfQ+TBzpeSMfw09CM8Y4UFQYlBzw="),
    (RSA, Sha256, "RL16WJFjNC59sCKhJa8vTz6j388mB7HgL3tD2dmn/TV/ks8G6v2stwrKM4eG92xNdpJJdFmzjp8tG3SUDXMRR0lpVr8pIEVqilIohTXVTIrQTCS50YhfgxADoLg+sdd8RHXXK+vsmzqFYZwL2mOpS49wSBaxvnKHyKRiZ71Qbp3k8HFtH7bvPKZBVuvwkVaKi5nZVAFD525sPlDVegn067RwN5bk0+s0JsYhdfaxeUs3jQ7XO6icOTwdevbPnpdT+LnVCWnOrJ/YmlfjMgy0uXn9Z0BPeWyUYd70OaQUfVBJEf1Q3OVhBhu5DpqLhW8mKkrcd2Lcxz2Pu+QRRyoq3g=="),
    (RSA, Sha384, "WrcMlVh01/nJLxnAFO5+h0WuuGr/hXHnBSz2WQ4DKwrTwDppre/+88bI/oa0VN9g1j3YO7/Ys1zTA6z4zONASdemt5m4alowg7AphFWEI5iszIL+NRdE4EV/KWXLpKgvfEFKF1bh6aiBXnlykRZ2hzVT+mdzMtjY6rh0sv48qNgsnxlzW2Eo7cngDnNyNQmoOQYF0BTTIqdhmGdFI4fWQ4lj4bK/FuJ0f9DduLcHOAkzbrOLtACF+3kCtJloPaFBWXgEaRqPdr6jLD+wxwcnAg5UTOSkam7vv9NxNVAFN9bnwIdZcjyWNuyFbFiqHqaHYhKZBQBlI+UES4nsRkT9aw=="),
    (RSA, Sha512, "cVGpQ+OCf9RPFgViuDykoD1P/CrWtuJFPZ89M2W09PcR3PPhBsaJZj/dfMlPXckTTDalA1695EOzdh0RSvUUiBH9blbKlkSmGDGlywmVc1NPny2BzjdN4MNUZS2ZqFAZMc+3YhOCUsK+t2AT/i6YHMyinVPTdhp6XHh9QJRArsXzXSs7coPzS6rtTjLqY1FfVL1B2j6NiSOQhccuNO9lolVC9UdWDsidH8lEp3+Cgmxf4nEPHSvyXVclOpmBJccLcGfJRg9MDKhMd8i3guk7H63HsyNURhrBTEs0E08T99DBGh1iSB0kqWaFNBHj1K0mAkSAC8fHlTGheb3tkd5UpA=="),
];

const ED_SIGNATURE: &str =
    "130StrI0uf7ChBaEWrhCFGpBLMEsTEFi7nMabeTMx1k6hDDn+/rTBZoxGiTHd8sU0PMGmnFkGqUTnpUfI0dgBQ==";

#[test]
fn verifies_what_openssl_signed() {
    for (pem, hash, signature) in SIGNATURES {
        let key = PublicKey::from_pem(pem).unwrap();
        assert_eq!(&key.to_pem(), pem);
        let signature = STANDARD.decode(signature).unwrap();
        for insisted in [Sha256, Sha384, Sha512] {
            let found = key.verify(b"message", &signature, Some(insisted));
            assert_eq!(found.is_ok(), insisted == *hash, "{key:?} {hash:?} {insisted:?}");
        }
        let by_default = key.verify(b"message", &signature, None).is_ok();
        assert_eq!(by_default, key.hashes(None).contains(hash), "{key:?} {hash:?}");
        assert!(key.verify(b"massage", &signature, None).is_err());
    }
    let key = PublicKey::from_pem(ED).unwrap();
    let signature = STANDARD.decode(ED_SIGNATURE).unwrap();
    assert!(key.verify(b"message", &signature, None).is_ok());
}

#[test]
fn p384_is_verified_with_both_hashes_that_cosign_has_used() {
    let key = PublicKey::from_pem(P384).unwrap();
    assert_eq!(key.hashes(None), [Sha256, Sha384]);
    assert_eq!(PublicKey::from_pem(P521).unwrap().hashes(None), [Sha256, Sha512]);
}

#[test]
fn refuses_keys_that_openssl_made_of_other_kinds() {
    let read = |pem| PublicKey::from_pem(pem).unwrap_err();
    for pem in [REFUSED_P224, REFUSED_BP, REFUSED_P256E, REFUSED_PSS, REFUSED_ED448, REFUSED_X] {
        assert!(matches!(read(pem), InvalidKey::Unsupported(_)), "{:?}", read(pem));
    }
    assert_eq!(read(REFUSED_P256C), InvalidKey::Point("compressed"));
}
