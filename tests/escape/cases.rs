//! The probe's cases, one test each, through the real binary as root and as an ordinary user. Each is shown to work
//! outside first, where that is harmless and this host has what it attacks; `shown_outside` counts them.

use serde_json::Value;
use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, os::unix::net::UnixListener, process::Command};
use support::{Who, World, eventually, stdout, told};

/// Names the tests after the cases: nextest then shows each.
macro_rules! cases {
    ($($class:ident { $($case:ident,)+ })+) => {
        const CASES: &[(&str, &[&str])] = &[$((stringify!($class), &[$(stringify!($case)),+])),+];
        $(mod $class {
            $(#[test]
            fn $case() {
                super::holds(stringify!($case));
            })+
        })+
    };
}

cases! {
    files {
        host_file_read, host_tmp, host_run, home_read, home_listing, home_credentials, other_homes,
        password_hashes, host_private_keys, sudoers, neighbour_project, workspace_parent, symlink_out,
        state_directory, write_usr, write_etc, write_root,
    }
    protected {
        git_hook_create, git_config_append, git_config_hard_link, git_config_lease, git_directory_rename, git_directory_swap,
        git_common_directory, missing_path_create, git_protection_unmount, sandbox_config_append, sandbox_config_replace, sandbox_config_truncate,
        setuid_file_outside,
    }
    descriptors {
        descriptors_leaked, descriptors_to_host, descriptors_standard, working_directory,
        working_directory_climb, environment_leak,
    }
    processes {
        process_visibility, process_environment, process_signal, process_pidfd, init_ptrace, init_memory, init_priority, init_scheduler,
        init_memory_readv, init_binary_read, init_binary_overwrite, own_binary_overwrite, init_root,
        init_environment, init_descriptors, init_descriptor_theft, init_compare, init_maps,
    }
    privileges {
        capabilities_effective, capabilities_inheritable, capabilities_bounding, capabilities_regain,
        capabilities_ambient_raise, no_new_privs, setuid_mounts, setuid_other_user, setgid_other_group,
        setgroups, securebits, foreign_owner,
    }
    filter {
        seccomp_mode, unknown_syscalls, x32_syscalls, ia32_syscalls, filter_tsync, syscall_number_high_bits,
    }
    namespaces {
        userns_unshare, userns_clone, userns_clone3, userns_unshare_high_bits, namespaces_unshare,
        namespaces_join_init, namespaces_join_pidfd, namespaces_shared,
    }
    mounts {
        mount_tmpfs, mount_proc, mount_bind, mount_remount, mount_umount, mount_fsopen, mount_open_tree,
        mount_move, mount_fspick, mount_cgroup, mount_propagation, pivot_root, chroot, chroot_fchdir,
        file_handle_open, root_mount_hidden, mount_table_paths, symlink_mount_source,
    }
    kernel {
        io_uring, bpf, userfaultfd, perf_events, kernel_module_load, kernel_module_unload, kexec, reboot,
        clock_set, clock_adjust, hostname, domainname, swap, accounting, kernel_log, file_notify_all,
        keyring_canary, keyring_session, keyring_add, keyring_join, keyring_request, io_ports, personality,
    }
    proc_sys {
        core_pattern, usermode_helpers, binfmt_misc, sysrq, sysctl_write, sysctl_namespaced, pressure_triggers,
        proc_machine_files, kernel_core, kernel_pointers, kernel_log_file, proc_keys, proc_host_load,
        firmware, sysfs_write, sysfs_devices, debug_file_systems, cgroup_move, cgroup_release_agent,
        cgroup_limits, cgroup_path,
    }
    devices {
        device_memory, device_kernel_log, device_disks, device_virtualisation, device_fuse_loop, device_input,
        device_graphics_sound, device_userfaultfd, device_unexpected, device_false, device_make_block,
        device_make_char, device_mounts,
    }
    terminal {
        terminal_input, terminal_input_high_bits, terminal_linux_paste, terminal_linux_paste_high_bits,
        terminal_of_caller, terminal_list,
    }
    ipc {
        socket_abstract, socket_path, socket_containers, socket_system_services, socket_message_bus,
        socket_key_agents, socket_display, shm_sysv, shm_sysv_list, shm_posix, queue_posix,
    }
    network {
        loopback_tcp4, loopback_tcp6, loopback_tcp_mapped, loopback_udp, host_address_tcp, host_address_tcp6,
        host_address_mapped, host_address_udp, host_address_options, loopback_bind,
        route_internet4, route_internet6, route_metadata, route_private, route_dns, route_multicast,
        network_devices, network_admin, socket_raw, socket_packet, socket_vsock, socket_crypto,
        socket_bluetooth, socket_netlink, socket_transports, socket_rare_families,
        name_of_host, name_spelled_address, name_strange_bytes, dns_tunnel,
        request_host, request_two_hosts, request_absolute_form, request_userinfo, request_unclear,
        request_long_head, request_connect, request_pipelined, request_smuggled, request_h2_authority, request_upgrade,
        request_redirect, tls_other_name, tls_no_name, tls_long_hello, tls_among_others, tls_later, relay_process, neighbour_tcp,
        neighbour_abstract,
    }
    resources {
        memory_bomb, fork_bomb, disk_fill_home, disk_fill_tmp, disk_fill_shm, core_dump,
    }
}

/// A user with something to lose: an environment, an ssh agent, credentials.
struct Rich {
    world: World,
    _agent: UnixListener,
}

impl Rich {
    fn new(who: Who) -> Self {
        let world = World::new(who);
        let _ = stdout(world.command("sh").args([
            "-c",
            "umask 077; mkdir ~/.ssh ~/.aws; echo key > ~/.ssh/id_ed25519; echo key > ~/.aws/credentials; echo hosts > ~/.netrc",
        ]));
        let socket = world.home().join("agent.sock");
        let agent = UnixListener::bind(&socket).unwrap();
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).unwrap();
        Self { world, _agent: agent }
    }

    fn attest(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.agentkernel(["attest"]);
        command
            .args(arguments)
            .env("SSH_AUTH_SOCK", self.world.home().join("agent.sock"))
            .env("API_KEY", "the caller's");
        command
    }

    /// The report of some cases.
    fn report(&self, cases: &[&str]) -> Vec<Value> {
        let output = self.attest(&[&["--json"], cases].concat()).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
        report["cases"].as_array().unwrap().clone()
    }
}

/// Nothing can be said of a limit where the kernel's owner gave this user none to set.
fn unlimited(who: Who, case: &Value) -> bool {
    let detail = case["detail"].as_str().unwrap();
    who == Who::Nobody && case["class"] == "resources" && detail.starts_with("limits: ")
}

/// Whether `/` is a part of a file system only, as in most containers: then there is no whole to be found.
fn root_is_a_part(case: &Value) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let whole = table.lines().any(|line| line.split(' ').skip(3).take(2).eq(["/", "/"]));
    case["name"] == "root-mount-hidden" && !whole
}

/// Whether the host has nothing that a request or a handshake could be sent to.
fn nowhere(case: &Value) -> bool {
    let detail = case["detail"].as_str().unwrap();
    case["class"] == "network"
        && (detail.contains("neither an address nor a name") || detail.contains("has no name of this"))
}

#[track_caller]
fn holds(case: &str) {
    let case = case.replace('_', "-");
    for who in Who::all() {
        let user = Rich::new(who);
        let [report] = <[Value; 1]>::try_from(user.report(&[&case])).unwrap();
        assert_ne!(report["control"]["state"], "failed", "{who:?}: it proves nothing: {report:#}");
        let detail = report["detail"].as_str().unwrap();
        if report["result"] == "skipped" && (unlimited(who, &report) || root_is_a_part(&report) || nowhere(&report)) {
            support::skipped(&format!("the escape {case} as {who:?}"), detail);
        } else {
            assert_eq!(report["result"], "held", "{who:?}: {report:#}");
            // The way out of the sandbox is there, so that it is a wall that held.
            assert!(!detail.contains("no way out") && !detail.contains("no name server"), "{who:?}: {report:#}");
        }
        eventually("nothing is left", || user.world.leftovers().is_empty());
    }
}

#[test]
fn every_case_has_a_test() {
    let world = World::new(Who::Me);
    let list: Value = serde_json::from_str(&stdout(&mut world.agentkernel(["attest", "--list", "--json"]))).unwrap();
    let there: BTreeSet<(String, String)> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|case| [&case["class"], &case["name"]].map(|text| text.as_str().unwrap().replace('-', "_")).into())
        .collect();
    let tested =
        CASES.iter().flat_map(|(class, names)| names.iter().map(|name| ((*class).to_owned(), (*name).to_owned())));
    assert_eq!(tested.collect::<BTreeSet<_>>(), there);
}

/// Most cases can be shown to be able to fail; the others say why they can't, and are few enough to be looked at.
#[test]
fn shown_outside() {
    for who in Who::all() {
        let user = Rich::new(who);
        let report = user.report(&[]);
        let (proved, unproved): (Vec<_>, Vec<_>) = report.iter().partition(|case| case["control"]["state"] == "proved");
        for case in &unproved {
            println!("UNPROVED as {who:?}: {}: {}", case["name"].as_str().unwrap(), case["control"]["reason"]);
        }
        let told = format!("{} of {} escapes as {who:?}", unproved.len(), report.len());
        support::skipped(
            &told,
            "not shown to succeed outside a sandbox, where they would do harm or lack their target",
        );
        let least = if rustix::process::getuid().is_root() && who == Who::Me { 155 } else { 100 };
        assert!(proved.len() >= least, "only {} of {}", proved.len(), report.len());
        for case in unproved {
            assert!(!case["control"]["reason"].as_str().unwrap_or_default().is_empty(), "{case:#}");
        }
    }
}
