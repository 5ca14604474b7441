//! Hides what registries of packages look like as files: each has one package that says hello.

use super::{Internet, authority::run};
use std::{fs, path::Path, process::Command};

/// The name of the package in every registry.
pub const PACKAGE: &str = "hello-package";
/// A registry of npm.
pub const NPM: &str = "npm.example.org";
/// A package index of Python.
pub const INDEX: &str = "python.example.org";
/// A sparse registry of cargo.
pub const CRATES: &str = "crates.example.org";
/// A flat repository of apt.
pub const DEBIAN: &str = "debian.example.org";

impl Internet {
    /// Fills [`NPM`], and writes what tells npm of it into a directory: `.npmrc`.
    pub fn npm(&self, project: &Path) {
        let manifest = format!("{{\"name\":\"{PACKAGE}\",\"version\":\"1.0.0\",\"main\":\"index.js\"}}");
        self.write("npm/package/package.json", &manifest);
        self.write("npm/package/index.js", "module.exports = 'hello from npm';\n");
        let site = self.site(NPM);
        let tarball = format!("{PACKAGE}-1.0.0.tgz");
        tar(&self.path("npm"), "package", &site.join(&tarball));
        let metadata = format!(
            "{{\"name\":\"{PACKAGE}\",\"dist-tags\":{{\"latest\":\"1.0.0\"}},\"versions\":{{\"1.0.0\":{{\"name\":\"{PACKAGE}\",\
             \"version\":\"1.0.0\",\"dist\":{{\"tarball\":\"https://{NPM}/{tarball}\"}}}}}}}}"
        );
        fs::write(site.join(PACKAGE), metadata).unwrap();
        let settings = format!(
            "registry=https://{NPM}/\ncafile=/etc/ssl/certs/ca-certificates.crt\naudit=false\nfund=false\n\
             update-notifier=false\nfetch-retries=0\ncache=${{PWD}}/.npm\n"
        );
        fs::write(project.join(".npmrc"), settings).unwrap();
    }

    /// Fills [`INDEX`], and writes what tells pip of it into a directory: `pip.conf`.
    pub fn python_index(&self, project: &Path) {
        let module = PACKAGE.replace('-', "_");
        self.write(&format!("wheel/{module}.py"), "print('hello from python')\n");
        let about = format!("wheel/{module}-1.0.dist-info");
        self.write(&format!("{about}/METADATA"), &format!("Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n"));
        self.write(
            &format!("{about}/WHEEL"),
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        );
        let record = ["METADATA", "WHEEL", "RECORD"].map(|file| format!("{module}-1.0.dist-info/{file},,\n")).concat();
        self.write(&format!("{about}/RECORD"), &format!("{module}.py,,\n{record}"));
        let wheel = format!("{module}-1.0-py3-none-any.whl");
        let folder = self.site(INDEX).join("simple").join(PACKAGE);
        fs::create_dir_all(&folder).unwrap();
        let mut zip = Command::new("python3");
        zip.args(["-m", "zipfile", "-c"]).arg(folder.join(&wheel)).arg(format!("{module}.py"));
        run(zip.arg(format!("{module}-1.0.dist-info")).current_dir(self.path("wheel")));
        let page = format!("<!DOCTYPE html><html><body><a href=\"{wheel}\">{wheel}</a></body></html>");
        // A directory's page is called so; its type follows from the name.
        fs::write(folder.join("index.html"), page).unwrap();
        let settings = format!(
            "[global]\nindex-url = https://{INDEX}/simple/\ncert = /etc/ssl/certs/ca-certificates.crt\nretries = 0\n\
             timeout = 10\ndisable-pip-version-check = true\nno-cache-dir = true\n"
        );
        fs::write(project.join("pip.conf"), settings).unwrap();
    }

    /// Fills [`CRATES`], and makes a directory a package that depends on the crate there.
    pub fn crates(&self, project: &Path) {
        let name = format!("{PACKAGE}-1.0.0");
        let manifest = format!("[package]\nname = \"{PACKAGE}\"\nversion = \"1.0.0\"\nedition = \"2021\"\n");
        self.write(&format!("crate/{name}/Cargo.toml"), &manifest);
        self.write(&format!("crate/{name}/src/lib.rs"), "//! Hello from cargo.\n");
        let site = self.site(CRATES);
        let file = site.join(format!("{name}.crate"));
        tar(&self.path("crate"), &name, &file);
        let sum = sha256(&file);
        let entry = format!(
            "{{\"name\":\"{PACKAGE}\",\"vers\":\"1.0.0\",\"deps\":[],\"cksum\":\"{sum}\",\"features\":{{}},\"yanked\":false}}\n"
        );
        // As cargo's book lays out an index: by the first two, and the next two, letters.
        let folder = site.join("index").join(&PACKAGE[..2]).join(&PACKAGE[2..4]);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(PACKAGE), entry).unwrap();
        let configuration = format!("{{\"dl\":\"https://{CRATES}/{{crate}}-{{version}}.crate\"}}");
        fs::write(site.join("index/config.json"), configuration).unwrap();

        let manifest = format!(
            "[package]\nname = \"user\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\n{PACKAGE} = {{ version = \"1\", registry = \"test\" }}\n"
        );
        fs::write(project.join("Cargo.toml"), manifest).unwrap();
        fs::create_dir_all(project.join("src")).unwrap();
        fs::write(project.join("src/lib.rs"), "").unwrap();
        fs::create_dir_all(project.join(".cargo")).unwrap();
        let settings = format!(
            "[registries.test]\nindex = \"sparse+https://{CRATES}/index/\"\n[net]\nretry = 0\n\
             [http]\ncainfo = \"/etc/ssl/certs/ca-certificates.crt\"\n"
        );
        fs::write(project.join(".cargo/config.toml"), settings).unwrap();
    }

    /// Fills [`DEBIAN`], and writes what makes apt use it, and nothing of the system, into a directory: `apt.conf`.
    pub fn debian(&self, project: &Path) {
        self.write(
            "deb/DEBIAN/control",
            &format!("Package: {PACKAGE}\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: says hello\n"),
        );
        let site = self.site(DEBIAN);
        let file = site.join("hello.deb");
        run(Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(self.path("deb")).arg(&file));
        let size = fs::metadata(&file).unwrap().len();
        let sum = sha256(&file);
        let packages = format!(
            "Package: {PACKAGE}\nVersion: 1.0\nArchitecture: all\nFilename: ./hello.deb\nSize: {size}\nSHA256: {sum}\nDescription: says hello\n"
        );
        fs::write(site.join("Packages"), &packages).unwrap();
        let list = format!(" {} {} Packages", sha256(&site.join("Packages")), packages.len());
        fs::write(site.join("Release"), format!("Suite: test\nArchitectures: all\nSHA256:\n{list}\n")).unwrap();

        let apt = project.join("apt");
        for folder in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(apt.join(folder)).unwrap();
        }
        fs::write(apt.join("status"), "").unwrap();
        fs::write(apt.join("sources.list"), format!("deb [trusted=yes] https://{DEBIAN}/ ./\n")).unwrap();
        let own = apt.display();
        let settings = format!(
            "Dir::State \"{own}\";\nDir::State::status \"{own}/status\";\nDir::Cache \"{own}/cache\";\n\
             Dir::Etc \"{own}\";\nDir::Etc::parts \"{own}/parts\";\nAPT::Sandbox::User \"\";\nAcquire::Retries \"0\";\n"
        );
        fs::write(project.join("apt.conf"), settings).unwrap();
    }
}

fn tar(folder: &Path, what: &str, to: &Path) {
    run(Command::new("tar").args(["--owner=0", "--group=0", "-czf"]).arg(to).arg("-C").arg(folder).arg(what));
}

fn sha256(file: &Path) -> String {
    run(Command::new("sha256sum").arg(file)).split(' ').next().unwrap().to_owned()
}
