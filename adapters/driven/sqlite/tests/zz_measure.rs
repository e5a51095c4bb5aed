mod support;
use std::sync::Arc;
use std::time::Instant;
use support::{Database, append};
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measure"]
async fn measure() {
    const LOGS: usize = 64;
    const ROUNDS: u64 = 300;
    let body = vec![b'x'; 700];
    for round in 0..3 {
        // raw
        let database = Database::new().await;
        let mut raw = database.raw().await;
        support::sql(&mut raw, "PRAGMA synchronous = FULL").await;
        support::sql(&mut raw, "CREATE TABLE r_heads (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL)").await;
        support::sql(&mut raw, "CREATE TABLE r_records (log INTEGER, seq INTEGER, body BLOB, PRIMARY KEY (log, seq)) WITHOUT ROWID").await;
        for log in 0..LOGS as i64 { sqlx::query("INSERT INTO r_heads VALUES (?1, 0)").bind(log).execute(&mut raw).await.unwrap(); }
        let start = Instant::now();
        for seq in 1..=ROUNDS as i64 {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut raw).await.unwrap();
            for log in 0..LOGS as i64 {
                sqlx::query("UPDATE r_heads SET seq = ?2 WHERE id = ?1 AND seq = ?2 - 1").bind(log).bind(seq).execute(&mut raw).await.unwrap();
                sqlx::query("INSERT INTO r_records VALUES (?1, ?2, ?3)").bind(log).bind(seq).bind(body.clone()).execute(&mut raw).await.unwrap();
            }
            sqlx::query("COMMIT").execute(&mut raw).await.unwrap();
        }
        let raw_rate = (LOGS as u64 * ROUNDS) as f64 / start.elapsed().as_secs_f64();
        // raw, only the records in one statement
        support::sql(&mut raw, "CREATE TABLE r_only (log INTEGER, seq INTEGER, body BLOB, PRIMARY KEY (log, seq)) WITHOUT ROWID").await;
        let start = Instant::now();
        for seq in 1..=ROUNDS as i64 {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut raw).await.unwrap();
            for log in 0..LOGS as i64 {
                sqlx::query("INSERT INTO r_only VALUES (?1, ?2, ?3)").bind(log).bind(seq).bind(body.clone()).execute(&mut raw).await.unwrap();
            }
            sqlx::query("COMMIT").execute(&mut raw).await.unwrap();
        }
        let only_rate = (LOGS as u64 * ROUNDS) as f64 / start.elapsed().as_secs_f64();
        // group
        let database = Database::new().await;
        let store = database.open().await.state_store();
        let start = Instant::now();
        let tasks: Vec<_> = (0..LOGS).map(|log| {
            let (store, body) = (Arc::clone(&store), body.clone());
            tokio::spawn(async move {
                let name = format!("log{log}");
                for head in 0..ROUNDS {
                    let mut append = append(&name, head, &[&body]);
                    append.labels.insert("status".into(), "running".into());
                    append.labels.insert("agent".into(), "reporter".into());
                    store.append(append).await.unwrap();
                }
            })
        }).collect();
        for task in tasks { task.await.unwrap(); }
        let rate = (LOGS as u64 * ROUNDS) as f64 / start.elapsed().as_secs_f64();
        println!("round {round}: raw {raw_rate:.0}/s, raw inserts only {only_rate:.0}/s, group {rate:.0}/s, ratio {:.2} / {:.2}", rate / raw_rate, rate / only_rate);
    }
    // one at a time
    let database = Database::new().await;
    let store = database.open().await.state_store();
    let start = Instant::now();
    for head in 0..500 { store.append(append("one", head, &[&body])).await.unwrap(); }
    println!("sequential {:.3} ms/append", start.elapsed().as_secs_f64() * 2.0);
    let mut raw = database.raw().await;
    support::sql(&mut raw, "PRAGMA synchronous = FULL").await;
    support::sql(&mut raw, "CREATE TABLE r_records (log INTEGER, seq INTEGER, body BLOB, PRIMARY KEY (log, seq)) WITHOUT ROWID").await;
    let start = Instant::now();
    for seq in 0..500 { sqlx::query("INSERT INTO r_records VALUES (1, ?1, ?2)").bind(seq).bind(body.clone()).execute(&mut raw).await.unwrap(); }
    println!("raw sequential {:.3} ms/append", start.elapsed().as_secs_f64() * 2.0);
}
