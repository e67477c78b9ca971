//! P3: a run cannot slow, stop, read or signal the server or another run.

use std::time::Instant;

use serde_json::json;

use super::{RUNGS, on};
use crate::support::{Options, Package};

/// What greedy runs do, and how each ends.
const GREEDY: [(&str, &str, &str); 5] = [
    (
        "forks",
        "    while True:\n        try:\n            if os.fork() == 0: time.sleep(1000)\n        except OSError: time.sleep(0.01)\n",
        "script_error timeout",
    ),
    ("eats", "    held = []\n    while True: held.append(bytearray(b'x' * (8 << 20)))\n", "out_of_memory"),
    ("floods", "    while True: logger.info('y' * 5000)\n", "timeout script_error"),
    (
        "fills",
        "    with open('/work/f', 'wb') as f:\n        while True: f.write(b'z' * (1 << 20)); f.flush()\n",
        "script_error",
    ),
    (
        "kills",
        "    for pid in list(range(-1, 0)) + list(range(2, 40000)):\n        try: os.kill(pid, signal.SIGKILL)\n        except OSError: pass\n    time.sleep(1)\n    return {}\n",
        "",
    ),
];

#[tokio::test]
async fn a_greedy_run_leaves_its_neighbour_alone() {
    for rung in RUNGS {
        let options = Options::default()
            .set("TE_MAX_RUNS", 12)
            .set("TE_SCRATCH_BYTES", 100 << 20)
            .set("TE_LOG_MAX_BYTES", 200_000);
        let Some(server) = on(rung, "a_greedy_run_leaves_its_neighbour_alone", options).await else { continue };
        let admin = server.admin().await;
        let honest = "import time\ndef run(params, logger):\n    for n in range(20):\n        logger.info('step %d' % n)\n        time.sleep(0.1)\n    return {'n': 20}\n";
        let honest = admin.publish_built(&Package::new("honest", honest).with("timeout_s", 100)).await;
        let mut greedy = Vec::new();
        for (name, body, ends) in GREEDY {
            let main = format!("import os, signal, time\ndef run(params, logger):\n{body}");
            let package = Package::new(name, &main)
                .with("timeout_s", 6)
                .with("memory_limit", 100_000_000)
                .with("max_processes", 40)
                .with("cpu_limit", 300_000_000);
            let slug = admin.publish_built(&package).await;
            greedy.push((admin.run(&slug, &json!({})).await, name, ends));
        }
        let begun = Instant::now();
        let run = admin.finish(&honest, &json!({})).await;
        assert_eq!((&run["status"], &run["results"]), (&json!("FINISHED"), &json!({"n": 20})), "{rung}: {run}");
        assert!(begun.elapsed().as_secs() < 60, "the honest run took {:?}", begun.elapsed());
        for (id, name, ends) in greedy {
            let run = admin.ended(&id).await;
            let class = run["failure"]["class"].as_str().unwrap_or("");
            // Who kills all that he sees kills himself, or nobody; either way only his own run ends.
            assert!(ends.is_empty() || ends.split(' ').any(|end| end == class), "{rung} {name}: {run}");
        }
        server.anonymous().get("/api-health").await.expect(200);
    }
}
