//! `page` and `per_page` of a list (contract/scripts-executions.md 0.1).

/// The page that a query asks for; `None` if it asks for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub page: i64,
    pub per_page: i64,
}

impl Asked {
    /// Off unless either is there; what is no number counts as the default, numbers are brought into their range.
    pub fn read(page: Option<&str>, per_page: Option<&str>) -> Option<Self> {
        if page.is_none() && per_page.is_none() {
            return None;
        }
        let number = |text: Option<&str>, default: i64| text.map_or(Some(default), |t| t.trim().parse().ok());
        let (Some(page), Some(per_page)) = (number(page, 1), number(per_page, 20)) else {
            return Some(Asked { page: 1, per_page: 20 });
        };
        Some(Asked { page: page.max(1), per_page: per_page.clamp(1, 100) })
    }

    /// (limit, offset)
    pub fn window(self) -> (i64, i64) {
        (self.per_page, (self.page - 1).saturating_mul(self.per_page))
    }
}
