//! Check of the harness: every server starts and responds.

use sealgate_tests::proxy::CountingProxy;
use sealgate_tests::{cluster, image, registries};

#[test]
fn registries_take_an_image() {
    for registry in registries::all() {
        let pushed = registry.image("smoke");
        let found = image::get_manifest(&registry.host, &pushed.repository, &pushed.digest);
        assert!(found.unwrap().is_some(), "{}", registry.host);
        let proxy = CountingProxy::start(&registry.host).unwrap();
        image::get_manifest(&proxy.host, &pushed.repository, "v1").unwrap().unwrap();
        assert_eq!(proxy.take(), ["GET /v2/tests/smoke/manifests/v1"]);
    }
}

#[test]
fn the_cluster_makes_pods_of_deployments() {
    let cluster = cluster::shared();
    cluster.namespace("smoke", &["smoke=yes"]);
    cluster
        .kubectl(&["create", "deployment", "app", "--image=example.com/app:v1", "-n", "smoke"])
        .ok();
    let pods = || cluster.kubectl(&["get", "pods", "-n", "smoke", "-o", "name"]).ok().stdout;
    sealgate_tests::process::wait_until(std::time::Duration::from_secs(30), || {
        pods().contains("pod/app-")
    })
    .unwrap();
}
