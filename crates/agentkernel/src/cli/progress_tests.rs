use super::*;
use oci::Digest;

fn layers(sizes: &[u64]) -> Vec<Layer> {
    let layer = |(index, size): (usize, &u64)| {
        let digest = Digest::of(index.to_string().as_bytes());
        Layer { blob: digest.clone(), size: *size, diff_id: digest }
    };
    sizes.iter().enumerate().map(layer).collect()
}

#[test]
fn a_line_tells_of_all_and_one_of_each_layer() {
    let layers = layers(&[2048, 1024, 0, 4096]);
    let stages = [Stage::Coming(512), Stage::Coming(1024), Stage::Done, Stage::Unpacking];
    let shown = lines("app:1", &layers, &stages, (24, 80));
    let name = |index: usize| &layers[index].blob.hex()[..12];
    assert_eq!(
        shown,
        [
            format!("app:1: {} of {}, 1 of 4 layers", table::bytes(5632), table::bytes(7168)),
            format!("  {}  [######------------------] {} of {}", name(0), table::bytes(512), table::bytes(2048)),
            format!("  {}  waits to be unpacked", name(1)),
            format!("  {}  ready", name(2)),
            format!("  {}  is unpacked", name(3)),
        ]
    );
}

#[test]
fn no_more_is_shown_than_there_is_room_for() {
    let layers = layers(&[1 << 40; 30]);
    let mut stages = [Stage::Coming(1); 30];
    stages[..20].fill(Stage::Done);
    let shown = lines("app", &layers, &stages, (14, 30));
    assert_eq!(shown.len(), 13);
    // What is ready gives way.
    assert!(shown[3..].iter().all(|line| line.contains("[--")), "{shown:?}");
    assert!(shown.iter().all(|line| line.chars().count() < 30));
    for size in [(0, 0), (1, 1), (2, 1)] {
        assert!(lines("app", &layers, &stages, size).len() <= size.0.max(1));
    }
}
