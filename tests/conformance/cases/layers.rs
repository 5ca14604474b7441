//! What lies over an image that it was not made for.

use super::Row;
use crate::{Bench, bench::BOX};
use support::told;

fn layer(b: &Bench, name: &str, env: &str, script: &str) {
    let archive = support::pack(&b.world, name, env, script);
    let _ = b.says(&["image", "import", archive.to_str().unwrap()]);
}

pub const CASES: &[Row] = &[
    ("a layer lies over the image, and takes away what it says", "", |b| {
        let low =
            "mkdir -p opt/both opt/whole opt/gone; for f in both/a both/b whole/a gone/a; do echo low > opt/$f; done";
        layer(b, "low", r#"["PATH=/opt/low:/bin","COLOR=red","LOW=1"]"#, low);
        let high = "mkdir -p opt/both opt/whole srv; echo high > opt/both/a; echo high > opt/whole/new; \
                    touch opt/whole/.wh..wh..opq opt/.wh.gone opt/both/.wh.b srv/.wh.file; echo srv > srv/other";
        layer(b, "high", "[]", high);
        let script = "cd /; echo $COLOR $LOW $PATH; stat -c %u:%g /opt/both/a; ls /srv; cd /opt; \
                      for f in both/* whole/* gone/*; do test -e $f && echo $f $(cat $f); done; true";
        let owner = if b.backend == "native" && b.caller() != 0 { "0:0" } else { "7:8" };
        let both = ["--layer", "low:1", "--layer", "high:1", "-u", "0"];
        let wanted = format!("blue 1 /opt/low:/bin\n{owner}\nother\nboth/a high\nwhole/new high\n");
        assert_eq!(b.works(&both, script), wanted);
        let low = format!("blue 1 /opt/low:/bin\n{owner}\nfile\nboth/a low\nboth/b low\nwhole/a low\ngone/a low\n");
        assert_eq!(b.works(&["--layer", "low:1", "-u", "0"], script), low);
        // Who runs it, and where, is the image's.
        assert_eq!(b.works(&["--layer", "low:1", "--workspace", "none"], "pwd"), "/srv\n");
    }),
    ("a kept sandbox has its layers again", "", |b| {
        layer(b, "tool", "[]", "mkdir -p opt; echo tool > opt/tool");
        b.kept(&["--layer", "tool:1", "-u", "0"], &[]);
        assert_eq!(b.exec("cat /opt/tool; echo made > /made; cat /made"), "tool\nmade\n");
        assert_eq!(b.inspect()["spec"]["layers"][0]["reference"], "tool:1");
        let _ = b.says(&["image", "rm", "tool:1"]);
        let _ = b.says(&["image", "prune", "--all"]);
        let _ = b.says(&["restart", "-t", "0", BOX]);
        assert_eq!(b.exec("cat /opt/tool /made"), "tool\nmade\n");
    }),
    ("a layer that doesn't fit is refused", "", |b| {
        layer(b, "wrong", "[]", "mkdir -p etc/passwd; echo x > etc/passwd/x");
        let output = b.sh(&["--layer", "wrong:1"], "true");
        assert!(!output.status.success() && told(&output).contains("Layer wrong:1"), "{}", told(&output));
        b.refuses(
            &["run", "--backend", b.backend, "--image", "box:1", "--layer", "127.0.0.1:1/no:1", "true"],
            "127.0.0.1:1",
        );
    }),
];
