use super::*;

const NOW: Duration = Duration::from_secs(1);

fn passed(request: u32) -> Happening {
    Happening {
        kind: ReportKind::Passed,
        direction: Some(Direction::Entry),
        request: Some(request),
        input: 0,
        unasked: false,
        card: CardRead::from_uid(&[4; 4]),
    }
}

#[test]
fn reports_are_found_by_their_numbers_from_1() {
    let mut book = Book::default();
    let place = book.open(ReaderId(101), LogId(7));
    for request in 1..=3 {
        book.keep(place, Words::of(&passed(request), BootId(9)), NOW);
    }
    assert_eq!((book.kept(), book.last(place)), (3, 3));
    assert_eq!(book.words(place, 2).map(|words| (words.request, words.boot)), Some((2, BootId(9))));
    assert!(book.words(place, 0).is_none() && book.words(place, 4).is_none() && book.words(1, 1).is_none());
    assert_eq!(book.places()[&(ReaderId(101), LogId(7))], place);
}

#[test]
fn report_that_follows_no_ask_has_no_boot() {
    let happening = Happening { request: None, ..passed(1) };
    assert_eq!(Words::of(&happening, BootId(9)).boot, BootId(0));
}

#[test]
fn receipt_covers_all_up_to_its_number_once() {
    let mut book = Book::default();
    let (first, second) = (book.open(ReaderId(101), LogId(7)), book.open(ReaderId(102), LogId(8)));
    for place in [first, first, first, second] {
        book.keep(place, Words::of(&passed(1), BootId(9)), NOW);
    }
    book.receipt(first, 2, NOW * 3);
    book.receipt(first, 2, NOW * 4);
    let of_first = |number| (first, ReportId { reader: ReaderId(101), log: LogId(7), number });
    assert_eq!(book.all_receipted().collect::<Vec<_>>(), [of_first(1), of_first(2)]);
    assert_eq!((book.receipted(), book.waited.len()), (2, 2));
    assert_eq!(book.waited.max() / 1_000_000_000, 2);
}

#[test]
fn what_found_no_room_is_known_by_the_count_told() {
    let mut book = Book::default();
    let place = book.open(ReaderId(101), LogId(7));
    book.keep(place, Words::of(&passed(1), BootId(9)), NOW);
    book.keep(place, Words::lost(5), NOW);
    assert_eq!((book.kept(), book.untold()), (2, 5));
}
