use super::*;

fn graph<'a>(dockerfile: &'a Dockerfile, target: Option<&str>, arguments: &[(&str, &str)]) -> Graph<'a> {
    let arguments = arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Graph::new(dockerfile, target, &arguments, &"linux/arm64".parse().unwrap()).unwrap()
}

const TEXT: &str = "ARG V=1\nARG W=${V}2\nFROM debian:$V AS base\nFROM base AS tools\nFROM scratch AS other\n\
                    FROM base AS last\nCOPY --from=tools a b\nRUN --mount=from=$TARGETARCH,target=/x y\n";

#[test]
fn only_what_leads_to_the_target_is_built() {
    let dockerfile = dockerfile::parse(TEXT).unwrap();
    let needed = |target| graph(&dockerfile, target, &[]).needed.into_iter().collect::<Vec<_>>();
    assert_eq!(needed(None), [0, 1, 3]);
    assert_eq!(needed(Some("OTHER")), [2]);
    assert_eq!(needed(Some("1")), [0, 1]);
    let error = Graph::new(&dockerfile, Some("none"), &BTreeMap::new(), &Platform::host()).unwrap_err();
    assert_eq!(error.hint, "There are base, tools, other, last");
}

#[test]
fn variables_of_from_are_the_global_ones() {
    let dockerfile = dockerfile::parse(TEXT).unwrap();
    let plain = graph(&dockerfile, None, &[]);
    assert_eq!(plain.globals["W"], "12");
    assert_eq!(plain.base(0).unwrap(), From::Image("debian:1".parse().unwrap()));
    assert_eq!((plain.base(1).unwrap(), plain.base(2).unwrap()), (From::Stage(0), From::Scratch));
    let given = graph(&dockerfile, None, &[("V", "2"), ("none", "3")]);
    assert_eq!(given.base(0).unwrap(), From::Image("debian:2".parse().unwrap()));
    assert_eq!(given.globals.get("none"), None);
    let step = &dockerfile.stages[3].steps[1];
    let Instruction::Run(run) = &step.instruction else { panic!() };
    let Mount::Bind { from: Some(from), .. } = &run.mounts[0] else { panic!() };
    assert_eq!(plain.from(3, step.line, from).unwrap(), From::Image("arm64".parse().unwrap()));
}

#[test]
fn a_name_means_the_nearest_stage_before_it() {
    let dockerfile = dockerfile::parse("FROM a AS x\nFROM b AS x\nFROM x\nFROM 0\n").unwrap();
    let graph = graph(&dockerfile, None, &[]);
    assert_eq!((graph.base(2).unwrap(), graph.base(1).unwrap()), (From::Stage(1), From::Image("b".parse().unwrap())));
    // A number is an image's name here.
    assert_eq!(graph.base(3).unwrap(), From::Image("0".parse().unwrap()));
}
