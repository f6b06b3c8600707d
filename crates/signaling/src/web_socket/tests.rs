use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

fn frame_of(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

fn pair(most: usize) -> (WebSocket<DuplexStream>, DuplexStream, Outbox) {
    let (ours, theirs) = duplex(64 * 1024);
    (WebSocket::new(ours, most), theirs, Outbox::default())
}

async fn next(socket: &mut WebSocket<DuplexStream>, outbox: &Outbox) -> Result<Message, Ended> {
    poll_fn(|cx| socket.poll_next(cx, outbox)).await
}

#[tokio::test]
async fn messages_come_whole_however_they_were_cut() {
    let (mut socket, mut client, outbox) = pair(1_000);
    let mut octets = frame_of(0x01, b"in ");
    octets.extend(frame_of(0x89, b"ping"));
    octets.extend(frame_of(0x80, b"parts"));
    octets.extend(frame_of(0x82, &[1, 2, 3]));
    octets.extend(frame_of(0x81, "ganz \u{e4}".as_bytes()));
    let writing = tokio::spawn(async move {
        for octet in octets {
            client.write_all(&[octet]).await.unwrap();
            tokio::task::yield_now().await;
        }
        client
    });
    assert_eq!(next(&mut socket, &outbox).await, Ok(Message::Text("in parts".into())));
    assert_eq!(next(&mut socket, &outbox).await, Ok(Message::Binary));
    assert_eq!(next(&mut socket, &outbox).await, Ok(Message::Text("ganz \u{e4}".into())));
    let mut client = writing.await.unwrap();
    let mut pong = [0; 6];
    client.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\x8a\x04ping");
    poll_fn(|cx| {
        assert!(socket.poll_next(cx, &outbox).is_pending());
        Poll::Ready(())
    })
    .await;
    assert_eq!((socket.received.capacity(), socket.sending.capacity()), (0, 0), "nothing is under way");
    drop(client);
    assert_eq!(next(&mut socket, &outbox).await, Err(Ended::Gone));
}

#[tokio::test]
async fn what_waits_goes_out_together_and_leaves_no_buffer() {
    let (mut socket, mut client, outbox) = pair(1_000);
    outbox.push(b"one".to_vec());
    outbox.push(b"two".to_vec());
    poll_fn(|cx| socket.poll_send(cx, &outbox)).await.unwrap();
    let mut sent = [0; 10];
    assert_eq!(client.read(&mut sent).await.unwrap(), 10);
    assert_eq!(&sent, b"\x81\x03one\x81\x03two");
    assert_eq!(socket.sending.capacity(), 0);
    assert_eq!(socket.stuck_at(), None);
}

#[tokio::test]
async fn who_reads_nothing_is_known_and_holds_one_batch() {
    let (mut socket, _client, outbox) = pair(1_000);
    for _ in 0..20 {
        outbox.push(vec![b'x'; 10_000]);
    }
    poll_fn(|cx| {
        assert!(socket.poll_next(cx, &outbox).is_pending());
        Poll::Ready(())
    })
    .await;
    assert_eq!(socket.stuck_at(), Some(64 * 1024));
    assert!(socket.sending.len() <= BATCH + 10_000 + 4 && !outbox.is_empty());
}

#[tokio::test]
async fn what_is_against_the_rules_ends_it() {
    let mut too_long = frame_of(0x01, &[b'x'; 100]);
    too_long.extend(frame_of(0x80, &[b'x'; 100]));
    for (octets, violation) in [
        (frame_of(0x80, b"a part of nothing"), Violation::Protocol),
        ([frame_of(0x01, b"a"), frame_of(0x81, b"b")].concat(), Violation::Protocol),
        (frame_of(0x81, &[0xff]), Violation::NotUtf8),
        ([frame_of(0x01, &[0xc3]), frame_of(0x80, &[0x28])].concat(), Violation::NotUtf8),
        (too_long, Violation::TooBig),
    ] {
        let (mut socket, mut client, outbox) = pair(120);
        client.write_all(&octets).await.unwrap();
        assert_eq!(next(&mut socket, &outbox).await, Err(Ended::Violation(violation)));
    }
    // A character in two parts is one.
    let (mut socket, mut client, outbox) = pair(120);
    client.write_all(&[frame_of(0x01, &[0xc3]), frame_of(0x80, &[0xa4])].concat()).await.unwrap();
    assert_eq!(next(&mut socket, &outbox).await, Ok(Message::Text("\u{e4}".into())));
}

#[tokio::test]
async fn a_ping_goes_out_and_whatever_comes_is_heard() {
    let (mut socket, mut client, outbox) = pair(1_000);
    socket.ping();
    let waiting = tokio::spawn(async move {
        let ended = next(&mut socket, &outbox).await;
        (socket.take_heard(), socket.take_heard(), ended)
    });
    let mut sent = [0; 2];
    client.read_exact(&mut sent).await.unwrap();
    assert_eq!(&sent, b"\x89\x00");
    client.write_all(&frame_of(0x8a, b"")).await.unwrap();
    drop(client);
    assert_eq!(waiting.await.unwrap(), (true, false, Err(Ended::Gone)));
}

#[tokio::test]
async fn who_is_hung_up_on_is_ended_at_once() {
    let (mut socket, _client, outbox) = pair(1_000);
    let outbox = std::sync::Arc::new(outbox);
    let other = outbox.clone();
    let waiting = tokio::spawn(async move { next(&mut socket, &outbox).await });
    tokio::task::yield_now().await;
    other.hang_up();
    assert_eq!(waiting.await.unwrap(), Err(Ended::Over));
}

#[tokio::test]
async fn closing_waits_for_the_client_to_close() {
    let (mut socket, mut client, outbox) = pair(1_000);
    outbox.push(b"bye".to_vec());
    let closing = tokio::spawn(async move { socket.close(&outbox, 1001, "w\u{e4}it").await });
    let mut sent = [0; 14];
    client.read_exact(&mut sent).await.unwrap();
    assert_eq!(&sent, b"\x81\x03bye\x88\x07\x03\xe9w\xc3\xa4it");
    assert!(!closing.is_finished());
    client.write_all(&frame_of(0x88, &1001_u16.to_be_bytes())).await.unwrap();
    closing.await.unwrap().unwrap();
}
