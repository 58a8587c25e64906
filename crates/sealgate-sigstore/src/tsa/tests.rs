use axum::response::Response;
use der::asn1::{Any, BitString};

use super::*;
use crate::http::fixture::{ReceivedRequest, Service, answer, client};

/// Request as parsed by the server.
struct ParsedRequest {
    imprint: Vec<u8>,
    nonce: Vec<u8>,
}

impl ParsedRequest {
    fn read(seen: &ReceivedRequest) -> Self {
        assert_eq!(seen.headers["content-type"], "application/timestamp-query");
        let mut fields = Fields::of(AnyRef::from_der(&seen.body).unwrap(), Tag::Sequence).unwrap();
        assert_eq!(fields.next::<u8>().unwrap(), 1);
        let mut imprint = fields.sequence().unwrap();
        assert_eq!(imprint.sequence().unwrap().next::<ObjectIdentifier>().unwrap(), SHA256);
        let imprint = imprint.next::<&OctetStringRef>().unwrap().as_bytes().to_vec();
        let nonce = fields.next::<UintRef<'_>>().unwrap().as_bytes().to_vec();
        assert!(fields.next::<bool>().unwrap());
        assert!(fields.is_empty());
        Self { imprint, nonce }
    }

    /// Response that grants the request, with a signature that is not checked here.
    fn granted(&self) -> Vec<u8> {
        self.with_status(&sequence(&[0u8.to_der().unwrap()]).unwrap())
    }

    fn with_status(&self, status: &[u8]) -> Vec<u8> {
        let oid = |text| ObjectIdentifier::new_unwrap(text).to_der().unwrap();
        let hash = sequence(&[SHA256.to_der().unwrap()]).unwrap();
        let octets = |bytes: &[u8]| OctetStringRef::new(bytes).unwrap().to_der().unwrap();
        let imprint = sequence(&[hash, octets(&self.imprint)]).unwrap();
        let time = Any::new(Tag::GeneralizedTime, &b"20261121120000Z"[..]).unwrap();
        let mut info = vec![
            1u8.to_der().unwrap(),
            oid("1.3.6.1.4.1.57264.2"),
            imprint,
            7u8.to_der().unwrap(),
            time.to_der().unwrap(),
        ];
        if !self.nonce.is_empty() {
            info.push(UintRef::new(&self.nonce).unwrap().to_der().unwrap());
        }
        let explicit = |der: &[u8]| Any::new(EXPLICIT, der).unwrap().to_der().unwrap();
        let info = explicit(&octets(&sequence(&info).unwrap()));
        let encapsulated = sequence(&[oid("1.2.840.113549.1.9.16.1.4"), info]).unwrap();
        let set = Any::new(Tag::Set, Vec::new()).unwrap().to_der().unwrap();
        let signed = sequence(&[3u8.to_der().unwrap(), set, encapsulated]).unwrap();
        let token = sequence(&[oid("1.2.840.113549.1.7.2"), explicit(&signed)]).unwrap();
        sequence(&[status.to_vec(), token]).unwrap()
    }
}

async fn service(make: impl Fn(ParsedRequest) -> Vec<u8> + Send + Sync + 'static) -> Service {
    Service::start(move |_, seen| reply(make(ParsedRequest::read(seen)))).await
}

fn reply(body: Vec<u8>) -> Response {
    answer(201, body)
}

async fn ask(service: &Service) -> Result<Vec<u8>, Fault> {
    let tsa = Tsa::new(&format!("{}/api/v1/timestamp", service.url), client()).unwrap();
    tsa.timestamp(b"signature").await
}

#[tokio::test]
async fn the_whole_answer_is_returned() {
    let service = service(|request| request.granted()).await;
    let got = ask(&service).await.unwrap();
    let seen = &service.seen()[0];
    assert_eq!(seen.path, "/api/v1/timestamp");
    assert_eq!(got, ParsedRequest::read(seen).granted());
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"signature");
    assert_eq!(ParsedRequest::read(seen).imprint, hash.as_ref());
}

#[tokio::test]
async fn no_two_requests_have_the_same_nonce() {
    let service = service(|request| request.granted()).await;
    ask(&service).await.unwrap();
    ask(&service).await.unwrap();
    let nonces: Vec<_> =
        service.seen().iter().map(|seen| ParsedRequest::read(seen).nonce).collect();
    assert_ne!(nonces[0], nonces[1]);
}

#[tokio::test]
async fn answers_to_other_questions_are_refused() {
    let other_nonce =
        service(|request| ParsedRequest { nonce: vec![9; 16], ..request }.granted()).await;
    let fault = ask(&other_nonce).await.unwrap_err();
    assert!(fault.detail.contains("nonce differs"), "{fault}");
    let no_nonce =
        service(|request| ParsedRequest { nonce: Vec::new(), ..request }.granted()).await;
    let fault = ask(&no_nonce).await.unwrap_err();
    assert!(fault.detail.contains("nonce differs"), "{fault}");
    let other_imprint =
        service(|request| ParsedRequest { imprint: vec![9; 32], ..request }.granted()).await;
    let fault = ask(&other_imprint).await.unwrap_err();
    assert!(fault.detail.contains("other data than our signature"), "{fault}");
    assert_eq!(fault.kind, FaultKind::Malformed);
}

#[tokio::test]
async fn what_is_not_granted_says_why() {
    let refused = service(|_| {
        let text = sequence(&["clock \u{1b}[31mis off".to_owned().to_der().unwrap()]).unwrap();
        let failure = BitString::new(1, vec![0, 2]).unwrap().to_der().unwrap();
        let status = sequence(&[2u8.to_der().unwrap(), text, failure]).unwrap();
        sequence(&[status]).unwrap()
    })
    .await;
    let fault = ask(&refused).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
    let detail = "the timestamp was not granted: status 2: clock  [31mis off: timeNotAvailable";
    assert_eq!(fault.detail, detail);
    let still =
        service(|request| request.with_status(&sequence(&[2u8.to_der().unwrap()]).unwrap())).await;
    assert_eq!(ask(&still).await.unwrap_err().kind, FaultKind::Denied);
    let empty = service(|_| sequence(&[sequence(&[0u8.to_der().unwrap()]).unwrap()]).unwrap());
    assert!(ask(&empty.await).await.unwrap_err().detail.contains("without a timestamp"));
}

#[tokio::test]
async fn broken_answers_are_faults() {
    let whole = ParsedRequest { imprint: vec![1; 32], nonce: vec![1; 16] }.granted();
    for end in 0..whole.len() {
        let cut = whole[..end].to_vec();
        let cut = service(move |_| cut.clone()).await;
        assert_eq!(ask(&cut).await.unwrap_err().kind, FaultKind::Malformed, "{end}");
    }
    let large = service(|_| vec![0x30; MAX_TIMESTAMP + 1]).await;
    assert_eq!(ask(&large).await.unwrap_err().kind, FaultKind::TooLarge);
}
