use super::*;
use crate::config::ProjectFile;

fn of(text: &str) -> Result<Option<Recipe>, ConfigError> {
    let file = ProjectFile::parse("/p/web app/agentkernel.toml".into(), text.into())?;
    recipe(&Overrides::default(), &Project { dir: "/p/web app".into(), file: Some(file) })
}

#[test]
fn a_recipe_is_what_image_says() {
    let text = "[image]\nfrom = \"debian:12\"\npackages = [\"git\", \"g++\"]\nsetup = [\"a && b\"]\ncache = [\"/root/.cache\"]\n";
    let made = of(text).unwrap().unwrap();
    assert_eq!(made.base, Base::Image("debian:12".parse().unwrap()));
    assert_eq!(
        (made.packages.len(), &made.setup[0], &made.cache[0]),
        (2, &(4, "a && b".to_owned()), &"/root/.cache".into())
    );
    assert!(made.name.familiar().starts_with("localhost/project/xwebapp-"), "{}", made.name.familiar());
    let made = of("[image]\ndockerfile = \"docker/Dockerfile\"\n").unwrap().unwrap();
    assert_eq!(made.base, Base::Dockerfile("/p/web app/docker/Dockerfile".into()));
    assert_eq!(of("[image]\n").unwrap(), None);
    assert_eq!(of("[image]\nfrom = \"host\"\n").unwrap(), None);
    assert_eq!(of("[image]\nfrom = \"dir:root\"\n").unwrap(), None);
    assert_eq!(of("[sandbox]\nimage = \"x\"\n").unwrap(), None);
}

#[test]
fn what_cannot_be_made_is_told_with_its_place() {
    for (text, cause) in [
        ("[image]\npackages = [\"git\"]\n", "[image] doesn't say what the image begins with"),
        ("[image]\nfrom = \"a\"\ndockerfile = \"b\"\n", "`from` and `dockerfile` both say"),
        ("[sandbox]\nimage = \"x\"\n[image]\nfrom = \"a\"\n", "`image` in [sandbox] names another"),
        ("[sandbox]\nimage = \"x\"\n[image]\nfrom = \"host\"\n", "`image` in [sandbox] names another"),
        ("[image]\nfrom = \"host\"\n[sandbox]\nimage = \"x\"\n", "`from` in [image] names another"),
        ("[image]\nfrom = \"host\"\nsetup = [\"x\"]\n", "Nothing is made of the host's own programs"),
        ("[image]\nfrom = \"A B\"\n", "not an image"),
        ("[image]\ndockerfile = \"../x\"\n", "not a path below the project"),
        ("[image]\nfrom = \"a\"\npackages = [\"--allow\"]\n", "not the name of a package"),
        ("[image]\nfrom = \"a\"\npackages = [\"a; b\"]\n", "not the name of a package"),
        ("[image]\nfrom = \"a\"\ncache = [\"/\"]\n", "not a directory that can be kept"),
        ("[image]\nfrom = \"a\"\ncache = [\"/$x\"]\n", "not a directory that can be kept"),
    ] {
        let error = of(text).expect_err(text);
        assert!(error.to_string().contains(cause), "{text}: {error}");
        assert!(error.to_string().contains("agentkernel.toml:"), "{text}: {error}");
    }
}
