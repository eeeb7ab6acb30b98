//! Tests of the limits, with a clock that goes forth and back.

use super::*;

const HOUR_MILLIS: i64 = 3_600_000;

const fn at(millis: i64) -> UnixMillis {
    UnixMillis::new(millis)
}

fn limits(ip: u32, user: u32) -> LoginLimits {
    LoginLimits::new(&Config {
        logins_per_minute_per_ip: ip,
        logins_per_minute_per_user: user,
        ..Config::default()
    })
}

fn address(text: &str) -> Option<IpAddr> {
    let address = text.parse();
    assert!(address.is_ok(), "{text}");
    address.ok()
}

fn bringer<'a>(openid: &'a str, from: &str) -> DataSender<'a> {
    DataSender {
        appid: "wx1",
        openid,
        address: address(from),
    }
}

#[test]
fn a_minute_allows_so_many_and_gives_them_back_evenly() {
    let limits = limits(0, 3);
    for _ in 0..3 {
        limits.log_in("wx1", "o1", at(1000)).expect("allowed");
    }
    let err = limits.log_in("wx1", "o1", at(1000)).expect_err("too many");
    assert!(
        matches!(err, Error::TooManyLogins { retry_secs: 20 }),
        "{err:?}"
    );
    limits.log_in("wx1", "o2", at(1000)).expect("another user");
    limits
        .log_in("wx2", "o1", at(1000))
        .expect("another mini program");
    assert!(limits.log_in("wx1", "o1", at(20_999)).is_err());
    limits
        .log_in("wx1", "o1", at(21_000))
        .expect("a third of a minute");
    assert!(limits.log_in("wx1", "o1", at(21_000)).is_err());
}

#[test]
fn every_limit_begins_anew_when_the_clock_is_set_back() {
    for back in [HOUR_MILLIS, 90_000, 30_000, 2000] {
        let limits = limits(2, 2);
        let limits = &limits;
        let each: [&dyn Fn(UnixMillis) -> bool; 4] = [
            &|now| limits.log_in("wx1", "o1", now).is_ok(),
            &|now| limits.call("wx1", "o1", now).is_ok(),
            &|now| limits.try_from(address("192.0.2.1"), now).is_ok(),
            &|now| limits.open(bringer("o1", "192.0.2.1"), now).is_ok(),
        ];
        let fast = 1_800_000_000_000 + HOUR_MILLIS;
        let drain = |now: i64| each.map(|take| (0..1000).take_while(|_| take(at(now))).count());
        assert_eq!(drain(fast), [2, 2, 2, 10]);
        assert_eq!(drain(fast), [0, 0, 0, 0]);
        // A moment of disorder is no clock set back.
        assert_eq!(drain(fast - 900), [0, 0, 0, 0]);
        assert_eq!(drain(fast - back), [2, 2, 2, 10], "{back} ms back");
        assert_eq!(drain(fast - back), [0, 0, 0, 0], "counted from there on");
        assert!(limits.log_in("wx1", "o1", at(fast - back + 60_000)).is_ok());
    }
}

#[test]
fn what_does_not_open_counts_by_user_and_address_and_what_opens_does_not() {
    let limits = LoginLimits::new(&Config {
        decrypt_failures_per_hour_per_user: 3,
        decrypt_failures_per_hour_per_ip: 5,
        ..Config::default()
    });
    let (one, two) = (bringer("o1", "192.0.2.1"), bringer("o2", "192.0.2.1"));
    for _ in 0..100 {
        limits.open(one, at(0)).expect("allowed");
        limits.opened(one);
    }
    for _ in 0..3 {
        limits.open(one, at(0)).expect("allowed");
    }
    for from in ["192.0.2.1", "192.0.2.9"] {
        let err = limits
            .open(bringer("o1", from), at(0))
            .expect_err("too many");
        assert!(
            matches!(err, Error::TooManyFailures { retry_secs: 1200 }),
            "{err:?}"
        );
    }
    limits.open(two, at(0)).expect("another user");
    limits.open(two, at(0)).expect("another user");
    assert!(
        limits.open(two, at(0)).is_err(),
        "the address has had enough"
    );
    let elsewhere = bringer("o2", "192.0.2.2");
    limits.open(elsewhere, at(0)).expect("the third of three");
    assert!(limits.open(elsewhere, at(0)).is_err());
    assert!(limits.open(one, at(HOUR_MILLIS / 3 - 1)).is_err());
    limits
        .open(one, at(HOUR_MILLIS / 3))
        .expect("a third of an hour");
    let near = bringer("o3", "127.0.0.1");
    for _ in 0..3 {
        limits
            .open(near, at(0))
            .expect("loopback is nobody's address");
    }
}

#[test]
fn addresses_count_by_network_and_loopback_does_not() {
    let limits = limits(1, 0);
    limits
        .try_from(address("2001:db8::1"), at(0))
        .expect("allowed");
    assert!(limits.try_from(address("2001:db8::2"), at(0)).is_err());
    limits
        .try_from(address("2001:db8:0:1::1"), at(0))
        .expect("another /64");
    limits
        .try_from(address("192.0.2.1"), at(0))
        .expect("allowed");
    assert!(limits.try_from(address("::ffff:192.0.2.1"), at(0)).is_err());
    limits
        .try_from(address("192.0.2.2"), at(0))
        .expect("another");
    for _ in 0..3 {
        for near in [address("127.0.0.1"), address("::1"), None] {
            limits.try_from(near, at(0)).expect("not counted");
        }
        limits.log_in("wx1", "o1", at(0)).expect("no limit");
    }
}
